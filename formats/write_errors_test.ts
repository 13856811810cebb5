import { rejects } from "node:assert/strict";
import { makeFolder } from "./write_errors.ts";

Deno.test({
  name: "makeFolder() says what to do about a folder that Deno opens to no program with permissions of its own",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    rejects(makeFolder("/proc/runs"), {
      name: "NotWritableError",
      message:
        /^Cannot write \/proc\/runs: Deno does not let this program \(Requires \w+ access to "\/proc\/runs.*"\): .*; name another folder$/,
    }),
});
