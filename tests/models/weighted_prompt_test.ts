import { ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Device, input, plan } from "../../engine/mod.ts";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import { BaseModel } from "../../models/base_model.ts";
import { openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import { Tokenizer } from "../../models/clip/tokenizer.ts";
import { weighStates } from "../../models/clip/weigh_states.ts";
import { weightedChunks } from "../../models/clip/weighted_prompt.ts";
import { relativeError } from "./golden.ts";

const root = new URL("../../", import.meta.url), golden = new URL("tests/golden/models/weighted_prompts", root);
const base = fileURLToPath(new URL("assets/toy/base", root));

Deno.test("weighted prompts have the states that sd-scripts gives them", async () => {
  const { rows } = JSON.parse(await Deno.readTextFile(new URL(`${golden}.json`)));
  await using file = await SafetensorsFile.open(fileURLToPath(`${golden}.safetensors`));
  const expected = await file.float32("states"), { shape } = file.entry("states");
  const tokenizer = await Tokenizer.fromFolder(`${base}/tokenizer`),
    model = await BaseModel.open(await openCheckpoint(base), {});
  // The generator's choice: the first nine.
  const chunks = rows.slice(0, shape[0]).map(({ text }: { text: string }) => weightedChunks(tokenizer, text, 75));
  using device = await Device.open();
  await model.load(device);
  const ids = input("ids", [chunks.length, 77], "i32"), weights = input("weights", [chunks.length, 77]);
  const program = await device.compile(plan({ outputs: { states: weighStates(model.encode(ids), weights) } }));
  type Chunk = ReturnType<typeof weightedChunks>;
  program.run({
    ids: chunks.flatMap(({ rows }: Chunk) => rows.flat()),
    weights: chunks.flatMap(({ weights }: Chunk) => weights),
  });
  const { states } = await program.read("states");
  const error = relativeError(states, expected);
  ok(error < 1e-4, `relative error ${error}`);
  console.log(`weighted prompts: relative error ${error.toExponential(1)}`);
});
