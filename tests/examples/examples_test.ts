import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { InterferenceReport } from "../../mod.ts";
import { checkToyLora } from "./lora_files.ts";
import { inNewFolder, runExample, startExample } from "./run_example.ts";

const examplesFolder = fileURLToPath(new URL("../../examples/", import.meta.url));

Deno.test("the examples run, each in its own folder, and share their latents", () =>
  inNewFolder(async (folder) => {
    const out = join(folder, "out");
    const run = async (name: string) => {
      const { code, stdout, stderr } = await runExample(name, folder);
      deepEqual({ code, stderr }, { code: 0, stderr: "" }, `${name}:\n${stdout}${stderr}`);
      match(stdout, /\ndone in /);
      return join(out, name);
    };
    for (const name of ["pretrain_then_freeze", "semi_freeze_with_annealing"]) {
      const made = await run(name);
      for (const network of ["network1", "network2"]) {
        await checkToyLora(join(made, `${network}.safetensors`), { rank: 16, alpha: 16 });
      }
    }
    const both = await run("both_at_once");
    await checkToyLora(join(both, "network1.safetensors"), { rank: 16, alpha: 8 });
    await checkToyLora(join(both, "network2.safetensors"), { rank: 16, alpha: 8 });

    const measured = await run("measure");
    deepEqual((await readdir(measured)).sort(), ["interference.html", "interference.json", "run", "samples.png"]);
    const { modules: compared, files, onBase } = JSON.parse(
      await readFile(join(measured, "interference.json"), "utf8"),
    ) as InterferenceReport;
    equal(compared.length, 192);
    deepEqual(
      files.map(({ file, alone }) => [file, alone]),
      [1, 2].map((k) => [`out/both_at_once/network${k}.safetensors`, []]),
    );
    // Two pictures of each at four timesteps, each with two prompts.
    deepEqual([onBase!.probes.network1, onBase!.probes.network2, onBase!.additivity!.samples], [2, 2, 32]);
    deepEqual(onBase!.crosstalk.modules.map(({ name }) => name), compared.map(({ name }) => name));
    ok(onBase!.crosstalk.all.crosstalk.every((value) => value! > 0));
    deepEqual(onBase!.retention.map(({ name, pictures }) => [name, pictures]), [
      ["character", 2],
      ["stack", 2],
      ["outfit", 2],
    ]);

    const own = await run("own_step");
    deepEqual((await readdir(own)).sort(), ["report.html", "report.json", "run", "samples.png"]);
    const { columns, stages } = JSON.parse(await readFile(join(own, "report.json"), "utf8"));
    ok(stages.some(({ name }: { name: string }) => name === "sample strengths"));
    deepEqual(columns.map(({ name, pictures }: { name: string; pictures: number }) => [name, pictures]), [
      ["base", 3],
      ["more character", 3],
      ["more outfit", 3],
      ["both", 3],
    ]);
    // By definition: the base is compared with itself.
    equal(columns[0].identityKept, 0);

    // Its store is as good as a built-in one's: nothing runs again.
    const again = await runExample("own_step", folder);
    deepEqual(again.stdout.match(/: unchanged$/gm)?.length, 7);
  }));

Deno.test("examples are short and import mod.ts alone", async () => {
  for (const name of (await readdir(examplesFolder)).filter((name) => name.endsWith(".ts"))) {
    const text = await readFile(join(examplesFolder, name), "utf8");
    // A line of a table, such as the variants that are compared, is no line that has to be understood before the next.
    const lines = text.trimEnd().split("\n").filter((line) => !/^ {2}\{ name: ".*\},$/.test(line));
    ok(lines.length < 60, `${name} is too long`);
    deepEqual([...text.matchAll(/from "(.*?)"/g)].map(([, from]) => from), ["../mod.ts"], name);
  }
});

Deno.test("an example describes itself without running", () =>
  inNewFolder(async (folder) => {
    const { code, stdout } = await runExample("own_step", folder, { args: ["--describe"] });
    equal(code, 0);
    match(stdout, / 5\. sample strengths\n {4}needs bases, network1, network2 · gives samples · kept on disk\n/);
    match(stdout, /\n {4}pictures: 12\n/);
    deepEqual(await readdir(folder), []);
  }));

Deno.test("an example that is asked for help says what it can be asked, and does not run", () =>
  inNewFolder(async (folder) => {
    for (const flag of ["--help", "-h"]) {
      const { code, stdout, stderr } = await runExample("demo", folder, { args: [flag] });
      deepEqual({ code, stderr }, { code: 0, stderr: "" });
      match(
        stdout,
        /\n {2}--quick .*\n {2}--output_dir <folder> .*\n {2}--describe +print what the recipe will do, and run nothing\n/,
      );
    }
    deepEqual(await readdir(folder), []);
  }));

Deno.test("an example refuses a flag or word that it does not know, says what there is, and leaves with 2", () =>
  inNewFolder(async (folder) => {
    const refused = async (name: string, word: string, message: RegExp) => {
      const { code, stdout, stderr } = await runExample(name, folder, { args: [word] });
      deepEqual({ code, stdout }, { code: 2, stdout: "" }, `${name} ${word}: ${stderr}`);
      match(stderr, message);
      match(stderr, /\n {2}--quick .*\n/);
    };
    const names = (await readdir(examplesFolder)).filter((name) => name.endsWith(".ts") && name !== "compare.ts");
    for (const name of names) {
      await refused(name.slice(0, -3), "--quik", /^error: unknown option '--quik'\n\(Did you mean --quick\?\)\n/);
    }
    await refused("demo", "quick", /^error: too many arguments\. Expected 0 arguments but got 1: quick\.\n/);
    deepEqual(await readdir(folder), []);
  }));

Deno.test({
  name: "Ctrl-C stops an example where it can go on, with exit code 75",
  // Windows cannot send a signal to one process.
  ignore: Deno.build.os === "windows",
  fn: () =>
    inNewFolder(async (folder) => {
      const child = startExample("both_at_once", folder);
      const stderr = new Response(child.stderr).text();
      let stdout = "";
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        if (!stdout.includes("cache latents: starts") && (stdout + text).includes("cache latents: starts")) {
          child.kill("SIGINT");
        }
        stdout += text;
      }
      equal((await child.status).code, 75);
      match(
        await stderr,
        /^Stopping as soon as .*\nInterrupted in step 'cache latents': run the recipe again to go on\n$/,
      );
    }),
});

Deno.test("an example leaves with 2 and one plain sentence where there is no adapter", () =>
  inNewFolder(async (folder) => {
    // Direct3D 12 is on no system where Vulkan is what is tested, and on Windows nothing is called Metal.
    const env = { DENO_WEBGPU_BACKEND: Deno.build.os === "windows" ? "metal" : "dx12" };
    const { code, stderr } = await runExample("both_at_once", folder, { env });
    equal(code, 2);
    equal(
      stderr,
      "load bases: failed: Cannot find a WebGPU adapter: no graphics driver with Vulkan, Metal or Direct3D 12 answered. Install " +
        "your card's driver; without a card, on Debian or Ubuntu: apt-get install mesa-vulkan-drivers\n",
    );
  }));
