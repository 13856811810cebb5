import { deepEqual, equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { licenceOf, licencesPage, lockedPackages } from "./licences.ts";
import { projectFolder } from "./project_files.ts";

/** Licences that let this project be used and passed on as it is; the LGPL's is a library of its own, loaded when the program starts. */
const accepted = ["0BSD", "Apache-2.0", "BSD-3-Clause", "ISC", "LGPL-3.0-or-later", "MIT", "OFL-1.1", "Unlicense"];

const read = (path: string) => readFile(join(projectFolder, path), "utf8");

Deno.test("docs/licences.md lists every package of the lock file", async () => {
  equal(await read("docs/licences.md"), await licencesPage());
});

Deno.test("Every package has a licence that was looked at", async () => {
  for (const each of await lockedPackages()) {
    const licences = licenceOf(each).split(" AND ");
    deepEqual(licences.filter((licence) => !accepted.includes(licence)), [], each.name);
  }
});

Deno.test("No package needs a script to be installed", async () => {
  const packages = await lockedPackages();
  ok(packages.length > 100);
  for (const { name, hasScript, installed } of packages) {
    ok(!hasScript, name);
    for (const script of ["preinstall", "install", "postinstall"]) ok(!(script in (installed?.scripts ?? {})), name);
  }
});

Deno.test("Every command keeps to the lock file, and every package in it has its content's hash", async () => {
  const { lock } = JSON.parse(await read("deno.json"));
  deepEqual(lock, { frozen: true });
  const { npm, redirects, remote } = JSON.parse(await read("deno.lock"));
  for (const [name, { integrity }] of Object.entries<{ integrity: string }>(npm)) {
    ok(/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity), name);
  }
  deepEqual([redirects, remote], [undefined, undefined]);
});
