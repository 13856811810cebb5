import { deepEqual, doesNotMatch, equal, match, ok, throws } from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { type InterferenceReport, onBaseText } from "../../steps/report/interference_report.ts";
import { readRunLogs } from "../../steps/report/run_logs.ts";
import { rowTexts } from "../../steps/write_interference_report.ts";
import { inNewFolder, smallData } from "./small_training.ts";
import { writeRuleLora } from "./rule_lora.ts";

const { samples } = d.things;

/** A recipe up to the probes, on two pictures of each. */
async function probed(folder: string, most: number) {
  return d.pipeline("probes")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
    .use(d.loadPriors({ network1: d.toy.priors }))
    .use(d.encodeLatents())
    .use(d.probesFromData({ most }));
}

Deno.test("probesFromData() takes each network's own pictures with their captions, no regularization pictures", () =>
  inNewFolder(async (folder) => {
    const recipe = await probed(folder, 5);
    const { values: { probes } } = await recipe.run({ folder: join(folder, "run"), keep: ["probes"] });
    deepEqual([probes.network1.length, probes.network2.length], [2, 2]);
    for (const { latents, height, width } of [...probes.network1, ...probes.network2]) {
      deepEqual([height, width, latents.length], [8, 8, 256]);
    }
    ok(probes.network1.every(({ prompt }) => /sks person/.test(prompt)), "captions of network 1");
    ok(probes.network2.every(({ prompt }) => /zkz clothes/.test(prompt)), "captions of network 2");
  }));

Deno.test("measureInterference() says beforehand what it is measured on, and what memory it takes", () =>
  inNewFolder(async (folder) => {
    const [one, two] = [1, 2].map((k) => join(folder, `${k}.safetensors`));
    await writeRuleLora(one, { salt: 1 });
    await writeRuleLora(two, { salt: 2 });
    const described = async (most: number) => {
      const recipe = (await probed(join(folder, `${most}`), most))
        .use(d.loadNetwork1({ weights: one })).use(d.loadNetwork2({ weights: two }))
        .use(d.measureInterference({ prompts: ["both"] }));
      return (await recipe.describe()).steps.at(-1)!;
    };
    const { figures, lines } = await described(1);
    deepEqual([figures.pictures1, figures.pictures2], [1, 1]);
    // The base alone takes 15.5 MiB.
    ok(figures.peakGpuBytes > 15.5 * 2 ** 20, `${figures.peakGpuBytes}`);
    match(lines.join("\n"), /^(time: known after the first picture|about )/);
    deepEqual((await described(2)).figures.pictures1, 2);
  }));

Deno.test("options that nothing can be measured with are refused", () => {
  throws(
    () => d.probesFromData({ most: 0 }),
    /^RangeError: Cannot take probes: most is 0, must be a whole number above 0$/,
  );
  throws(() => d.measureInterference({ seed: -1 }), /seed is -1, must be a whole number from 0 on$/);
  const report = { folder: "out", files: ["a", "b"] as const, base: "toy" };
  throws(
    () => d.writeInterferenceReport({ ...report, shown: { pictures: samples } }),
    /shown has pictures, can have samples and retention$/,
  );
});

Deno.test("readRunLogs() reads the curves of networks kept in a run folder, wherever it lies", () =>
  inNewFolder(async (folder) => {
    const keep = async (step: string, name: string, log: d.StepFigures[], settings = {}) => {
      const product = join(folder, "run/steps", step, "product", name);
      await mkdir(product, { recursive: true });
      await writeFile(join(product, "network.json"), JSON.stringify({ options: {}, log, settings }));
    };
    const figures = (values: Record<string, number>): d.StepFigures[] => [{ step: 0, epoch: 0, values }];
    await keep("05-pretrain-network-1", "network1", figures({ loss_1: 0.5 }));
    await keep("06-load-network-2", "network2", []);
    await keep("07-train-network-2", "network2", figures({ loss_2: 0.4, orth_te: 1, orth_unet: 2 }));
    // Frozen: handed on with the log of its own training.
    await keep("07-train-network-2", "network1", figures({ loss_1: 0.5 }));
    await keep("08-train-without", "network2Without", figures({ loss_2: 0.3, orth_te: 3 }), { orthogonality: false });
    deepEqual((await readRunLogs(folder)).map(({ name, network, orthogonality }) => [name, network, orthogonality]), [
      ["pretrain-network-1: network1", 1, false],
      ["train-network-2: network2", 2, true],
      ["train-without: network2Without", 2, false],
    ]);
  }));

/** Writes a log's folder, with a line for each of some losses; what stands behind the last whole line is `rest`. */
async function writeLog(folder: string, steps: readonly Record<string, number>[], rest = ""): Promise<void> {
  await mkdir(folder, { recursive: true });
  const lines = steps.map((values, step) => `${JSON.stringify({ step: step + 1, epoch: 1, ...values })}\n`);
  await writeFile(join(folder, "figures.jsonl"), lines.join("") + rest);
}

Deno.test("readRunLogs() reads every training's figures.jsonl in the order they were begun, of one that went on the last", () =>
  inNewFolder(async (folder) => {
    // Both networks, then network 2: stopped, with a half line, and gone on. In the alphabet the second comes first.
    await writeLog(join(folder, "b 20260101000000"), [1, 2].map((at) => ({ loss_1: at, loss_2: at / 2, orth_te: 1 })));
    await writeLog(join(folder, "a 20260102000000"), [{ loss_2: 0.75 }], '{"step":2');
    await writeLog(join(folder, "a 20260102000000_2"), [{ loss_2: 0.75 }, { loss_2: 0.5 }]);
    const found = await readRunLogs(folder);
    deepEqual(found.map(({ name, network }) => [name, network]), [
      ["b 20260101000000: network 1", 1],
      ["b 20260101000000: network 2", 2],
      ["a 20260102000000_2: network 2", 2],
    ]);
    // Files count from 1.
    const values = { loss_1: 2, loss_2: 1, orth_te: 1 };
    deepEqual(found[1].steps[1], { step: 1, epoch: 0, values });
    deepEqual(found[2].steps.map(({ values }) => values), [{ loss_2: 0.75 }, { loss_2: 0.5 }]);
  }));

Deno.test("readRunLogs() shows of a run with logs what its networks keep, and behind it the training that is at work", () =>
  inNewFolder(async (folder) => {
    const product = join(folder, "run/steps/04-pretrain-network-1/product/network1");
    await mkdir(product, { recursive: true });
    const log = [{ step: 0, epoch: 0, values: { loss_1: 0.5, norm_1: 1 } }];
    await writeFile(join(product, "network.json"), JSON.stringify({ options: {}, log, settings: {} }));
    await writeLog(join(folder, "logs/20260101000000"), [{ loss_1: 0.5, norm_1: 1, learning_rate_1: 1 }]);
    await writeLog(join(folder, "logs/20260101000100"), [{ loss_2: 0.25 }]);
    deepEqual((await readRunLogs(folder)).map(({ name }) => name), [
      "pretrain-network-1: network1",
      "20260101000100: network 2",
    ]);
  }));

Deno.test("readRunLogs() tells trainings apart whose first losses are the same, as with another coefficient, in logs and in what is kept", () =>
  inNewFolder(async (folder) => {
    const product = join(folder, "steps/07-train-network-2/product/network2");
    await mkdir(product, { recursive: true });
    const log = [2, 1].map((loss_2, step) => ({ step, epoch: 0, values: { loss_2 } }));
    await writeFile(join(product, "network.json"), JSON.stringify({ options: {}, log, settings: {} }));
    for (const [day, last] of [1, 0.5, 0.25].entries()) {
      await writeLog(join(folder, `logs/2026010${day + 1}000000`), [{ loss_2: 2 }, { loss_2: last }]);
    }
    deepEqual((await readRunLogs(folder)).map(({ name }) => name), [
      "train-network-2: network2",
      "20260102000000: network 2",
      "20260103000000: network 2",
    ]);
    // Without a step in common nothing says that they are one.
    const later = join(folder, "logs/20260104000000");
    await writeLog(later, []);
    await writeFile(join(later, "figures.jsonl"), `${JSON.stringify({ step: 9, epoch: 2, loss_2: 1 })}\n`);
    equal((await readRunLogs(folder)).length, 4);
  }));

Deno.test("readRunLogs() shows of a network that goes on, or is handed on, what each step added", () =>
  inNewFolder(async (folder) => {
    const rows = (...losses: number[]) => losses.map((loss_1, step) => ({ step, epoch: 0, values: { loss_1 } }));
    for (const [step, log] of [["04-pretrain", rows(3, 2)], ["05-train", [...rows(3, 2), ...rows(1)]]] as const) {
      const product = join(folder, "steps", step, "product/network1");
      await mkdir(product, { recursive: true });
      await writeFile(join(product, "network.json"), JSON.stringify({ options: {}, log, settings: {} }));
    }
    const found = await readRunLogs(folder);
    deepEqual(found.map(({ name, steps }) => [name, steps.map(({ values }) => values.loss_1)]), [
      ["pretrain: network1", [3, 2]],
      ["train: network1", [1]],
    ]);
  }));

Deno.test("readRunLogs() names the file and line that it cannot read, and says what it looks for", () =>
  inNewFolder(async (folder) => {
    const refused = (path: string) => readRunLogs(path).then(() => "", (error) => `${error}`);
    const log = join(folder, "20260102000000");
    await writeLog(log, [{ loss_1: 1 }], "{\n");
    match(await refused(folder), /^SyntaxError: Cannot read .*20260102000000.figures\.jsonl, line 2: it is no JSON; /);
    await writeLog(log, [{ loss_1: 1 }], "{}\n");
    match(await refused(folder), /line 2: it is no step's figures; remove the line$/);
    match(
      await refused(join(folder, "none")),
      /^Error: .* there is no such folder; name a run's folder, or its logs'$/,
    );
    await writeLog(log, []);
    match(
      await refused(folder),
      /it has no finished training, and no figures\.jsonl with figures; name the folder of a/,
    );
  }));

Deno.test("a measurement in a base says which LoRA changes nothing, and nothing of how well they add up", async () => {
  const additivity = { error: 0, interaction: 0, change1: 0, change2: 0.5, samples: 4 };
  const zero = (k: number) =>
    weights.map((module) => ({ ...module, norms: [0, 1].map((at) => at === k ? 0 : 1) as never }));
  const shown = async (found: InterferenceReport) =>
    (await d.interferenceHtml(found)).match(/<p class="lead">(.*?)<\/p>/)![1] + onBaseText(found.onBase!);
  const one = { ...report, modules: zero(0), onBase: { ...report.onBase!, additivity } };
  match(
    await shown(one),
    /^File 1 changes nothing .* LoRA 1 changes no prediction: the stack does what LoRA 2 does alone, and zeros say nothing/,
  );
  match(await shown(one), /^LoRA 1 changes no prediction/m);
  doesNotMatch(await shown(one), /miss adding up|overlaps by/);
  const two = {
    ...one,
    modules: zero(1),
    onBase: { ...one.onBase, additivity: { ...additivity, change1: 1, change2: 0 } },
  };
  match(
    await shown(two),
    /^File 2 .* LoRA 2 changes no prediction: the stack does what LoRA 1 does alone, and zeros say nothing/,
  );
  const none = { ...one, modules: zero(0), onBase: { ...one.onBase, additivity: null } };
  match(await shown(none), /Neither LoRA changes a prediction, so there is nothing to add up: zeros say nothing/);
});

/** Two modules, measured in a base. */
const module = "lora_unet_mid_block_attentions_0_proj_out", text = "lora_te_text_model_encoder_layers_3_mlp_fc1";
const overlap = { overlap: 0.25, largestCosine: 0.5, byChance: 0.1 };
const weights = [module, text].map((name) => ({
  ...{ name, block: name === module ? "M00" : "BASE", ranks: [1, 1] as const, rows: overlap, columns: overlap },
  ...{ cosine: 0.5, norms: [1, 2] as const, foreign: [1, 0.5] as const },
}));
const group = {
  ...{ modules: 2, withoutEffect: 0, rows: 0.25, columns: 0.25, rowsByChance: 0.1, columnsByChance: 0.1 },
  ...{ largestRowCosine: 0.5, largestColumnCosine: 0.5, cosine: 0.5, crosstalk: [0.5, 0.25] as const },
};
const answers = { modules: 2, crosstalk: [0.625, null] as const };
const report: InterferenceReport = {
  dualora: "0.1.0",
  files: [1, 2].map((k) => ({ file: `${k}.safetensors`, sha256: `${k}`.repeat(64), modules: 2, alone: [] })) as never,
  ...{ all: { name: "all", ...group }, parts: [], blocks: [{ name: "M00", ...group }], modules: weights },
  onBase: {
    ...{
      base: "toy",
      baseHash: "b".repeat(64),
      settings: { resolution: 64 },
      stages: [{ name: "sample", seconds: 2 }],
    },
    adapter: { name: "an adapter", vendor: "v", architecture: "", cpu: true, subgroupSize: 8, f16: false },
    versions: { deno: "2.9.6" },
    pictures: [{ name: "base", prompt: `a "picture"` }],
    probes: { network1: 2, network2: 3, source: "pictures with their captions", prompts: ["both"] },
    additivity: { error: 0.375, interaction: 0.3, change1: 0.5, change2: 0.3, samples: 40 },
    hooks: { textRest: 1e-5, textDiagonal: 2e-6, unet: 0.5, textDivergence: null, unetDivergence: 0.25 },
    crosstalk: {
      ...{ all: { name: "all", ...answers }, parts: [], blocks: [{ name: "M00", ...answers }] },
      modules: [{ name: module, own: [2, 0], foreign: [1, 0] }, { name: text, own: [1, 1], foreign: [1, 1] }],
    },
    retention: [{
      ...{ name: "stack", identityKept: 0.5, identityHalf: 0.125, outfitTaken: -0.25, outfitHalf: null, pictures: 4 },
    }],
  },
  training: [{
    ...{ name: "network 2", network: 2, orthogonality: true },
    steps: [0, 1].map((step) => ({ step, epoch: 0, values: { loss_2: 0.5, orth_te: 0.1, orth_unet: 0.2 } })),
  }],
};

Deno.test("the page of a measurement in a base has pictures, figures, curves, retention, maps, machine and hashes", async () => {
  const html = await d.interferenceHtml(report, Uint8Array.of(1, 2, 3));
  for (
    const found of [
      /miss adding up by 37\.5 % of the changes&#39; own squares/,
      /<img src="data:image\/png;base64,AQID"/,
      /a &quot;picture&quot;/,
      /additivity error<\/th><td>0\.375</,
      /all<\/th><td class="number">2<\/td><td class="number">0\.625<\/td><td class="number">–</,
      /hooks: text term, the diagonal \(I\)<\/th><td>2\.0e-6</,
      /hooks: text divergence, nats<\/th><td>–</,
      /crosstalk on data at the UNet hook, 2 in 1 and 1 in 2<\/th><td>0\.500 and –</,
      /On 2 and 3 pictures with their captions, at four timesteps each/,
      /<h3>Orthogonality term of the text encoder<\/h3>/,
      /0\.50 ± 0\.13/,
      /−0\.25</,
      /<h3>Crosstalk of 2 in 1, on data: UNet<\/h3>/,
      />middle<\/text>/,
      /an adapter/,
      /1{64}/,
      /b{64}/,
    ]
  ) match(html, found);
  // Four maps by weights, two on data, each of the UNet and the text encoder; pictures, curves, retention and time beside.
  equal(html.match(/<figure>/g)?.length, 12 + 6);
  // Module of the UNet: 1 / 2 on network 1's data; on network 2's nothing to divide by.
  match(html, />\.50<\/text>/);
  // One row for each hook.
  deepEqual(
    html.match(/crosstalk on data[^<]* hook/g),
    ["text", "UNet"].map((part) => `crosstalk on data at the ${part} hook`),
  );
  doesNotMatch(html, /<script|<link|<iframe|<object|@import|url\(|\son[a-z]+=/i);
  const ids = [...html.matchAll(/\sid="([^"]*)"/g)].map(([, id]) => id);
  equal(new Set(ids).size, ids.length);
});

Deno.test("the text of a measurement in a base has the same figures", () => {
  const shown = onBaseText(report.onBase!);
  match(shown, /^In the stack their changes of a prediction miss adding up by 37\.5 % of the changes' own squares\.$/m);
  match(shown, /^additivity error 0\.375 over 40 predictions$/m);
  equal(shown.match(/2 in 1 and 1 in 2/g)?.length, 2);
  match(shown, /^text term, all but the diagonal \(1 − I\): 1\.0e-5$/m);
  match(shown, /^crosstalk on data at the UNet hook, 2 in 1 and 1 in 2: 0\.500 and –$/m);
  match(shown, /^all +2 +0\.625 +–$/m);
  match(shown, /^stack +0\.500 ± 0\.125, -0\.250$/m);
});

Deno.test("rows of the picture grid are named by what stands for {row} in their prompts, wherever and however often", () => {
  const column = (prompt: string, prompts: readonly string[]) => ({
    ...{
      prompt,
      pictures: prompts.map((prompt) => ({ prompt, seed: 1, width: 1, height: 1, pixels: new Uint8Array(3) })),
    },
  });
  const plain = column("a face", ["a face", "a face"]);
  deepEqual(rowTexts([plain, column("on {row}, a {row} hat", ["on red, a red hat", "on sky blue, a sky blue hat"])]), [
    "red",
    "sky blue",
  ]);
  deepEqual(rowTexts([column("{row}", ["", "x"])]), ["", "x"]);
  deepEqual(rowTexts([plain]), ["", ""]);
});
