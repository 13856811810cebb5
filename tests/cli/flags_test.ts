import { deepEqual, equal, ok } from "node:assert/strict";
import { readFile } from "node:fs/promises";
import type { Flag } from "../../cli/flags/flag.ts";
import { flagsByName } from "../../cli/flags/table.ts";
import { flagsPage } from "../../cli/flags_page.ts";
import { optimizerNames } from "../../training/optimizers/optimizers.ts";
import { checkPictureOptions } from "../../steps/values/picture_sampler.ts";
import { type GoldenFlag, readGoldenLines } from "./golden_lines.ts";

const golden = await readGoldenLines();

/** Flags whose value is a kind of its own here, where the original's kind is one of its bugs. */
const betterTypes: Readonly<Record<string, string>> = {
  // Fractions, too.
  orth_te_coefficient: "number",
  orth_unet_coefficient: "number",
  kld_coefficient: "number",
  // "False" is false.
  freeze_network_1: "boolean",
  semi_freeze_network_1: "boolean",
};

/** The original's defaults of 64 are network 1's defaults too, which network 2 falls back to here. */
const fallBack = ["network_dim_2", "network_alpha_2"];

function typeOf({ type, action, nargs }: GoldenFlag): string {
  if (action === "store_true") return "switch";
  if (nargs === "*") return "list";
  return { str: "text", path: "text", int: "integer", float: "number", bool: "boolean" }[type!]!;
}

function found(name: string): Flag {
  const flag = flagsByName.get(name);
  ok(flag, `--${name} is not in the table`);
  return flag;
}

Deno.test("the table has all 107 flags of the original and all 109 of sd-scripts, with their types and choices", () => {
  equal(golden.dual.flags.length, 107);
  equal(golden.sd_scripts_0_6_4.flags.length, 109);
  for (const expected of [...golden.dual.flags, ...golden.sd_scripts_0_6_4.flags]) {
    const { name, choices } = expected, flag = found(name);
    equal(flag.type, betterTypes[name] ?? typeOf(expected), `type of --${name}`);
    // A null among choices says that the flag may be left out.
    deepEqual(flag.choices, choices?.filter((choice) => choice !== null), `choices of --${name}`);
  }
});

Deno.test("defaults are the original's, and sd-scripts' for one network alone", () => {
  for (const { name, default: expected } of golden.dual.flags) {
    equal(found(name).default, fallBack.includes(name) ? null : expected, `default of --${name}`);
  }
  equal(golden.dual.flags.find(({ name }) => name === "network_dim_2")?.default, found("network_dim").default);
  equal(golden.dual.flags.find(({ name }) => name === "network_alpha_2")?.default, found("network_alpha").default);
  for (const { name, default: expected } of golden.sd_scripts_0_6_4.flags) {
    const flag = found(name), isOther = Object.hasOwn(golden.other_defaults, name);
    equal(isOther ? flag.alone : flag.default, expected, `sd-scripts' default of --${name}`);
    equal(flag.alone !== undefined, isOther, `--${name} has a default of its own for one network`);
  }
});

Deno.test("the table says which program knows a flag", () => {
  for (const { name } of [...golden.dual.flags, ...golden.sd_scripts_0_6_4.flags]) {
    const expected = golden.only_in_dual.includes(name)
      ? "original"
      : golden.only_in_sd_scripts.includes(name)
      ? "sd-scripts"
      : "both";
    equal(found(name).from, expected, `who knows --${name}`);
  }
  const known = new Set([...golden.dual.flags, ...golden.sd_scripts_0_6_4.flags].map(({ name }) => name));
  for (const { name, from } of flagsByName.values()) if (!known.has(name)) ok(["own", "newer"].includes(from), name);
});

Deno.test("each flag has one entry and one spelling, a sentence, and a reason where it is refused", () => {
  const names = [...flagsByName.values()].flatMap(({ name, alias }) => alias ? [name, alias] : [name]);
  equal(new Set(names).size, names.length);
  for (const { name, does, status } of flagsByName.values()) {
    ok(/^[a-z0-9_]+$/.test(name), name);
    ok(does.length > 5 && !does.endsWith("."), `--${name}: ${does}`);
    if (typeof status === "object") ok(Object.values(status)[0].length > 5, `--${name} says why`);
  }
});

Deno.test("docs/flags.md is what the table makes of it", async () => {
  equal(await readFile(new URL("../../docs/flags.md", import.meta.url), "utf8"), flagsPage());
});

Deno.test("pictures can be sampled with every choice of --sample_sampler", () => {
  const choices = flagsByName.get("sample_sampler")?.choices ?? [];
  equal(choices.length, 16);
  for (const sampler of choices) checkPictureOptions({ width: 64, height: 64, sampler: `${sampler}` });
});

Deno.test("--optimizer_type says all names that it takes", () => {
  const { does } = found("optimizer_type");
  deepEqual(optimizerNames.filter((name) => !new RegExp(`\\b${name}\\b`).test(does)), []);
});
