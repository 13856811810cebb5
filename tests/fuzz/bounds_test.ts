import { equal, match } from "node:assert/strict";

const script = new URL("./over_bounds.ts", import.meta.url).pathname;

for (
  const [name, said] of [
    ["given back", /it took \d+ bytes of memory \(resident\)/],
    ["never touched", /it took \d+ bytes of memory \(external\)/],
    ["within bounds", /^$/],
  ] as const
) {
  Deno.test(`What bounds the cases sees memory that is ${name}`, async () => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", script, name],
    }).output();
    match(new TextDecoder().decode(stderr), said);
    equal(code === 0, name === "within bounds");
  });
}
