import { deepEqual, equal, match, ok } from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { compareState, type StateFacts } from "../../steps/outputs/state_facts.ts";
import { inNewFolder, runRecorded, smallData } from "./small_training.ts";

const network = {
  ...{ number: 1 as const, base: "a", rank: 4, convRank: null, parts: ["unet"], modules: "m", optimizer: "AdamW" },
  before: { options: { rank: 4 }, log: [], settings: {} },
};
const facts = (settings: object, one: object = {}): StateFacts => ({
  networks: [{ ...network, ...one }],
  settings: settings as Record<string, unknown>,
});

/** What docs/outputs.md says of each setting: the word in its second column, or null where no row names it. */
async function documented(name: string): Promise<string | null> {
  const text = await readFile(new URL("../../docs/outputs.md", import.meta.url), "utf8");
  const row = text.split("\n").find((line) => line.startsWith("| ") && line.split("|")[1].includes(`\`${name}\``));
  return row?.split("|")[2].trim() ?? null;
}

Deno.test("each setting that differs from a state's is refused, told to matter, or told not to, as the table in the docs says", async () => {
  const refused = { base: "b", rank: 8, convRank: 4, parts: ["text_encoder"], modules: "n", optimizer: "Lion" };
  for (const [name, value] of Object.entries(refused)) {
    let message = "";
    try {
      compareState("s", facts({}), facts({}, { [name]: value }));
    } catch (error) {
      message = (error as Error).message;
    }
    match(message, /^Cannot go on from the state s: network 1 has (another|other) /, name);
    equal(await documented(name), "refused", name);
  }
  const told: [name: string, was: unknown, is: unknown, more?: object][] = [
    ["learningRate", 1e-3, 1e-4],
    ["schedule", "constant", "cosine"],
    ["optimizerArguments", { weight_decay: 0 }, { weight_decay: 0.1 }],
    ["seed", 1, 2],
    ["data", { images: 4 }, { images: 5 }],
    ["data", { pictures: "a" }, { pictures: "b" }],
    ["data", { batchSize: [1] }, { batchSize: [2] }],
    ["data", { resolution: [[64, 64]] }, { resolution: [[128, 128]] }],
    ["precision", "f32", "f16"],
    ["adapter", "one", "another"],
    ["steps", 10, 20, { schedule: "cosine" }],
    ["steps", 10, 20],
    ["epochs", 1, 2],
    ["gradientCheckpointing", false, true],
    ["validateEveryEpochs", 1, 2],
    ["maxValidationBatches", 1, 2],
  ];
  for (const [name, was, is, more = {}] of told) {
    const isOfNetwork = name === "data" || name === "precision", at = (value: unknown) => ({ [name]: value });
    const settings = (value: unknown) =>
      facts(isOfNetwork ? { network1: at(value), ...more } : { ...at(value), ...more });
    const found = compareState("s", settings(was), settings(is));
    equal(found.length, 1, name);
    match(found[0], new RegExp(`^going on from s: (in )?\\S*${name}\\S* (was|files) `));
    // The middle column: what differs alone decides, but for a length.
    const matters = !/changes nothing|the end alone/.test(found[0]), word = await documented(name);
    const wanted = ["steps", "epochs"].includes(name) ? "no, with a constant rate" : matters ? "yes" : "no";
    equal(word, wanted, `${name}: ${found[0]}`);
    equal(Object.hasOwn(more, "schedule") ? matters : true, true);
  }
  deepEqual(compareState("s", facts({ seed: 1, adapter: "one" }), facts({ seed: 1, adapter: "one" })), []);
});

Deno.test("a state of another adapter, data set and base is told or refused by what the run finds itself", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder), out = join(folder, "out");
    const recipe = (training: { steps: number } & Partial<Parameters<typeof d.pretrainNetwork1>[0]>, reading = {}) =>
      d.pipeline("changed")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ network1: data.network1, resolution: 64, batchSize: 1, ...reading }))
        .use(d.cacheLatents())
        .use(d.pretrainNetwork1({ rank: 2, parts: ["unet"], ...training }));
    const save = { folder: out, state: true }, resume = join(out, "last-state");
    equal((await runRecorded(recipe({ steps: 1, save }), { folder: join(folder, "first") })).error, null);
    // As if it had been made on another machine, with another picture.
    const path = join(resume, "manifest.json"), manifest = JSON.parse(await readFile(path, "utf8"));
    ok(manifest.facts.settings.adapter.length > 0);
    manifest.facts.settings.adapter = "Some other card";
    await writeFile(path, JSON.stringify(manifest));
    await writeFile(join(data.network1.train, "1_sks person", "000.txt"), "another caption");
    const { error, events } = await runRecorded(recipe({ steps: 2, resume }, { batchSize: 2 }), {
      folder: join(folder, "run"),
    });
    equal(error, null);
    const told = events.flatMap((event) => event.type === "warning" ? [event.message] : []).join("\n");
    match(
      told,
      /: adapter was "Some other card", and is ".+" now; the result is as good, and not equal bit by bit/,
    );
    match(
      told,
      /: in network1\.data\.pictures files or captions were added, taken away or changed; pictures come in/,
    );
    match(told, /: network1\.data\.batchSize was \[1\], and is \[2\] now; pictures come in another order/);
    match(told, /: steps was 1, and is 2 now; the end alone is another/);
    manifest.facts.networks[0].base = "0".repeat(64);
    await writeFile(path, JSON.stringify(manifest));
    const refused = await runRecorded(recipe({ steps: 3, resume }), { folder: join(folder, "other") });
    match(
      `${refused.error}`,
      /^StateError: .*network 1 has another base model: the state was made with another one\. Train on the base/,
    );
  }));
