import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { probe } from "../../tools/probe/main.ts";
import { readOptions } from "../../tools/probe/options.ts";
import { readTensorSet, writeTensorSet } from "../../tools/probe/tensors.ts";
import { goldenPath, goldenTensors } from "./golden_tensors.ts";

const toy = fileURLToPath(new URL("../../assets/toy/base", import.meta.url));

async function paths(options: unknown = {}) {
  const folder = await Deno.makeTempDir(), optionsFile = join(folder, "options.json");
  await writeFile(optionsFile, JSON.stringify(options));
  const output = join(folder, "out.safetensors");
  return { output, args: ["--options", optionsFile, "--output", output] };
}

Deno.test("probe writes a part's results to the output file", async () => {
  const { output, args } = await paths({ sampler: "ddim", steps: 5 }), name = "ddim.5.latents";
  await probe(["sampler", "--input", goldenPath("models/samplers.safetensors"), ...args]);
  const golden = await goldenTensors("models/samplers"), found = await readTensorSet(output);
  deepEqual(found.get(name)!.shape, golden.get(name)!.shape);
  ok(Math.abs(found.get(name)!.data.at(-1)! - golden.get(name)!.data.at(-1)!) < 1e-5);
});

Deno.test("probe tokenizes from JSON to JSON", async () => {
  const folder = await Deno.makeTempDir(), input = join(folder, "in.json"), output = join(folder, "out.json");
  await writeFile(input, '["a person"]');
  await probe(["tokenize", "--model", toy, "--input", input, "--output", output]);
  const { cases } = JSON.parse(await readFile(output, "utf8"));
  equal(cases.length, 1);
  equal(cases[0].ids77.length, 77);
});

Deno.test("probe suggests the part that an unknown one is nearest to", async () => {
  const { args } = await paths();
  await rejects(probe(["dual-setp", "--input", "x", ...args]), {
    name: "UsageError",
    message: /^Unknown part dual-setp\. Did you mean dual-step\? Parts are text-encoder, unet, /,
  });
});

Deno.test("probe suggests the option that an unknown one is nearest to", async () => {
  const { args } = await paths({ step: 5 });
  await rejects(probe(["sampler", "--input", goldenPath("models/samplers.safetensors"), ...args]), {
    name: "UsageError",
    message: "Unknown option step of sampler. Did you mean steps? Its options are sampler, steps, prediction_type",
  });
});

Deno.test("probe leaves with exit code 2 and a suggestion for an unknown flag", async () => {
  const script = join(import.meta.dirname!, "../../tools/probe/main.ts");
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, "sampler", "--inptu", "x"],
    stdout: "piped",
    stderr: "piped",
  });
  const { code, stderr } = await command.output();
  equal(code, 2);
  const text = new TextDecoder().decode(stderr);
  ok(text.includes("unknown option '--inptu'") && text.includes("--input"), text);
});

Deno.test("probe needs a folder for a part that reads a model", async () => {
  const { args } = await paths();
  const golden = goldenPath("models/unet_tiny.safetensors");
  await rejects(probe(["unet", "--input", golden, ...args]), { message: "unet needs --model <folder>" });
});

Deno.test("probe names the flag whose file or folder is not there", async () => {
  const { args } = await paths(), missing = join(await Deno.makeTempDir(), "none");
  const message = (flag: string) => ({
    name: "UsageError",
    message: `Cannot read --${flag} ${missing}: it is not there`,
  });
  await rejects(probe(["sampler", "--input", missing, ...args]), message("input"));
  const golden = goldenPath("models/unet_tiny.safetensors");
  await rejects(probe(["unet", "--input", golden, ...args, "--model", missing]), message("model"));
});

Deno.test("readOptions() takes a golden's JSON: settings are merged, results are left out", () => {
  const known = ["frozen", "rank", "steps"];
  deepEqual(readOptions("x", { settings: { frozen: true }, terms: {}, norms: {}, rank: 8, steps: [{}] }, known), {
    frozen: true,
    rank: 8,
  });
  deepEqual(readOptions("x", { steps: 3 }, known), { steps: 3 });
});

Deno.test("a set of tensors is the same after writing and reading", async () => {
  const { output } = await paths();
  const set = new Map([["a", { shape: [2], data: Float32Array.of(1, 2) }], ["b", {
    shape: [1, 2],
    data: Int32Array.of(3, -4),
  }]]);
  await writeTensorSet(output, set);
  deepEqual(await readTensorSet(output), set);
});
