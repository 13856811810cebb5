import { rejects } from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeLora } from "../../formats/lora_file.ts";
import * as d from "../../mod.ts";
import { baseHash } from "../../steps/outputs/open_outputs.ts";
import type { StateFacts } from "../../steps/outputs/state_facts.ts";
import { writeState } from "../../steps/outputs/state_folder.ts";
import { openBases } from "../../steps/values/bases.ts";
import { inNewFolder, smallData } from "./small_training.ts";

/** A LoRA file of one module, of rank 4. */
async function writeModule(path: string): Promise<void> {
  const { network1: base } = await openBases({ network1: "toy" }, {});
  const { name, down, up } = d.buildNetwork("network 1", base, { rank: 4 }).modules[0];
  const zeros = ({ shape, sizeElements }: typeof down) => ({ shape, values: new Float32Array(sizeElements) });
  await writeLora(path, [{ name, alpha: 4, down: zeros(down), up: zeros(up) }]);
}

/** A whole state of one network; of rank 8 and other modules when they are left out. */
async function writeOtherState(path: string, { rank = 8, modules = "others", weights = 1 } = {}): Promise<void> {
  const { network1: base } = await openBases({ network1: "toy" }, {});
  const facts: StateFacts = {
    networks: [{
      number: 1,
      base: await baseHash(base),
      ...{ rank, convRank: null, parts: ["text_encoder", "unet"], modules, optimizer: "AdamW" },
      before: { options: { rank }, log: [], settings: {} },
    }],
    settings: {},
  };
  const networks = [{ weights: new Float32Array(weights), optimizer: { other: new Float32Array(1) } }];
  await writeState(path, {
    content: { state: { step: 1, skipped: { total: 0, inRow: 0 }, networks }, log: [] },
    facts,
  });
}

Deno.test("describe() finds every named LoRA file and state that a run could not use, and says what named it", (t) =>
  inNewFolder(async (folder) => {
    const path = (name: string) => join(folder, name), missing = path("missing"), lora = path("lora.safetensors");
    const state = path("one-state"), empty = path("empty");
    await writeModule(lora);
    await writeOtherState(state);
    await mkdir(empty);
    // Of the same modules, as it says, but with other tensors.
    const { network1: base } = await openBases({ network1: "toy" }, {});
    const { tensors, sizeElements } = d.buildNetwork("network 1", base, { rank: 4 });
    const modules = d.hashJson(tensors.map(({ name, shape }) => [name, shape]));
    await writeOtherState(path("few"), { rank: 4, modules });
    await writeOtherState(path("optimizers"), { rank: 4, modules, weights: sizeElements });
    const data = await smallData(folder), merge = [{ weights: missing }];
    const training = { rank: 4, steps: 2 };
    const recipe = (bases: Partial<d.LoadBasesOptions> = {}) =>
      d.pipeline("inputs").use(d.loadBases({ network1: "toy", ...bases }))
        .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 })).use(d.cacheLatents({}));
    const trained = (options: Partial<Parameters<typeof d.pretrainNetwork1>[0]>) =>
      recipe().use(d.pretrainNetwork1({ ...training, ...options }));
    const noFile = (flag: string) =>
      `Cannot read the LoRA file ${missing} (${flag}): there is no such file; name the .safetensors file of a trained network`;
    const noState =
      `Cannot go on from the state ${missing}: there is no such folder. Beside it ${state} is whole, with 1 steps: name that`;
    const cases: [string, () => Promise<unknown>, string | RegExp][] = [
      ["a missing state", () => trained({ resume: missing }).describe(), noState],
      [
        "a state of another rank",
        () => trained({ resume: state }).describe(),
        `Cannot go on from the state ${state}: network 1 has another rank (--network_dim): the state has 8, this training 4. Take the state's`,
      ],
      [
        "a state with fewer weights than its modules have",
        () => trained({ resume: path("few") }).describe(),
        `Cannot go on from the state ${
          path("few")
        }: of network 1's weights it has 1 numbers, this training ${sizeElements}; it is of another network`,
      ],
      [
        "a state without what the optimizer keeps",
        () => trained({ resume: path("optimizers") }).describe(),
        /: of network 1's optimizer\.\w+ it has 0 numbers, this training \d+; take the optimizer's arguments that it was made with$/,
      ],
      [
        "a state of one network for two",
        () => recipe().use(d.trainBoth({ ...training, resume: state })).describe(),
        `Cannot go on from the state ${state}: it holds network 1, this step trains network 1 and 2`,
      ],
      [
        "a file of another rank",
        () => trained({ weights: lora, rank: 8 }).describe(),
        /^Cannot train network 1 from .*lora\.safetensors: lora_te_\S+ is \[4, (\d+)\], the network has \[8, \1\]; give the file's rank/,
      ],
      ["no file for network 1", () => trained({ weights: missing }).describe(), noFile("--network_weights")],
      [
        "no file for network 2",
        () => recipe().use(d.trainBoth({ ...training, network2: { weights: missing } })).describe(),
        noFile("--network_weights_2"),
      ],
      [
        "no file for a network 1 that is frozen",
        () => recipe().use(d.loadNetwork1({ weights: missing })).describe(),
        noFile("--network_weights"),
      ],
      ["no file to merge", () => recipe({ merge }).describe(), noFile("--base_weights")],
      [
        "a folder to merge",
        () => recipe({ merge: [{ weights: empty }] }).describe(),
        `Cannot read the LoRA file ${empty} (--base_weights): it is a folder; name the .safetensors file of a trained network`,
      ],
    ];
    for (const [name, described, message] of cases) await t.step(name, () => rejects(described, { message }));
  }));
