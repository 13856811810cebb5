import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loraFrom, readLora } from "../../formats/lora_file.ts";
import { openTensorFile } from "../../formats/open_tensor_file.ts";
import { existingBytes } from "../../steps/outputs/disk_use.ts";
import * as d from "../../mod.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";

/** Both networks, two steps an epoch. */
async function recipe(folder: string, training: Partial<d.TrainBothOptions> & Pick<d.TrainBothOptions, "steps">) {
  return d.pipeline("both")
    .use(d.loadBases({ network1: "toy" }))
    .use(d.readDreambooth({ ...await smallData(folder), resolution: 64, batchSize: 1 }))
    .use(d.cacheLatents())
    .use(d.trainBoth({ rank: 2, alpha: 1, learningRate: 1e-3, seed: 3, ...training }));
}

/** Bytes that steps say they write into a folder; undefined for the run's. */
function diskBytes(steps: readonly d.StepDescription[], folder: string | undefined): number {
  const uses = steps.flatMap(({ disk }) => disk).filter((use) => use.folder === folder);
  return uses.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

const names = { network1: "mine", network2: "other" };

Deno.test("training saves both networks after epochs and steps under sd-scripts' names, and removes old files", () =>
  inNewFolder(async (folder) => {
    const out = join(folder, "out");
    await mkdir(out);
    // What a run left that was killed while it wrote, and what another run is writing.
    const id = "01234567-89ab-cdef-0123-456789abcdef";
    const foreign = `.their.safetensors.tmp-${id}`;
    for (const name of [`.mine-000001.safetensors.tmp-${id}`, `.tmp-del-mine-000001-state-${id}`, foreign]) {
      await writeFile(join(out, name), "");
    }
    const save: d.SaveOptions = {
      ...{ folder: out, names, everyEpochs: 1, everySteps: 3, lastEpochs: 2, lastEpochsState: 1, state: true },
      ...{ precision: "fp16", comment: "a test" },
    };
    const training = { steps: 8, network2: { rank: 3, alpha: 1.5, learningRate: 2e-3 } };
    const recipeOfBoth = await recipe(folder, { ...training, save }), { steps } = await recipeOfBoth.describe();
    const { error, events } = await runRecorded(recipeOfBoth, { folder: join(folder, "run") });
    equal(error, null);
    // Four epochs: none is saved after the last, as the end saves it; of three, two are kept, and one state.
    deepEqual(
      (await readdir(out)).sort(),
      [
        foreign,
        "mine-000002.safetensors",
        "mine-000003-state",
        "mine-000003.safetensors",
        "mine-state",
        "mine-step00000003-state",
        "mine-step00000003.safetensors",
        "mine-step00000006-state",
        "mine-step00000006.safetensors",
        "other-000002.safetensors",
        "other-000003.safetensors",
        "other-step00000003.safetensors",
        "other-step00000006.safetensors",
      ].sort(),
    );
    // Of five sets of files and five states that are there at one time, four are left.
    const [written, planned] = [await existingBytes(out), diskBytes(steps, out)];
    ok(planned >= written * 5 / 4 && planned < written * 1.5, `${planned} bytes were planned, ${written} are left`);
    const ofRun = diskBytes(steps, undefined), kept = await existingBytes(join(folder, "run", "steps"));
    ok(ofRun > kept / 2 && ofRun < 8 * kept, `${ofRun} bytes were planned for the run's folder, ${kept} are left`);
    // Those that lie there are written over.
    const again = diskBytes((await recipeOfBoth.describe()).steps, out);
    ok(again <= planned - written, `${again} bytes would be written beside those`);

    const told = events.flatMap((event) => event.type === "artifact" ? [event.path] : []);
    ok(told.includes(join(out, "other-step00000006.safetensors")) && told.includes(join(out, "mine-state")));

    // Each with its own values.
    for (
      const [number, rank, alpha, rate, train] of [
        [1, "2", "1.0", "0.001", "1_sks person"],
        [2, "3", "1.5", "0.002", "1_zkz clothes"],
      ] as const
    ) {
      const { metadata, modules } = await readLora(join(out, `${names[`network${number}`]}-000003.safetensors`));
      const said = Object.fromEntries(metadata);
      deepEqual(
        ["ss_output_name", "ss_epoch", "ss_steps", "ss_training_comment", "ss_num_epochs"].map((key) => said[key]),
        [`${names[`network${number}`]}-000003`, "3", "6", "a test", "4"],
      );
      deepEqual(["ss_network_dim", "ss_network_alpha", "ss_learning_rate"].map((key) => said[key]), [
        ...[rank, alpha, rate],
      ]);
      equal(said.ss_dataset_dirs, `{"${train}": {"n_repeats": 1, "img_count": 2}}`);
      equal(said.ss_sd_model_name, "base");
      ok(modules.every((module) => module.down.shape[0] === Number(rank)));
    }

    // The weights in a file are those that a training of as many steps ends with.
    const short = join(folder, "short");
    const { network2 } = d.things;
    const saved = (await recipe(folder, { ...training, steps: 3 }))
      .use(d.saveNetworks({ folder: short, networks: { network2 }, precision: "fp16" }));
    equal((await runRecorded(saved, { folder: short })).error, null);
    const files = [join(out, "other-step00000003.safetensors"), join(short, "network2.safetensors")];
    const [a, b] = (await Promise.all(files.map(readLora))).map(({ metadata }) => metadata.get("sshs_model_hash"));
    match(`${a}`, /^[0-9a-f]{64}$/);
    equal(b, a);
  }));

Deno.test("a run that goes on from a copied state in a new folder ends as the one that never stopped, bit by bit", () =>
  inNewFolder(async (folder) => {
    const training: Partial<d.TrainBothOptions> & { steps: number } = {
      ...{ steps: 7, schedule: "cosine", warmupSteps: 2, accumulationSteps: 2, minSnrGamma: 5 },
      network2: { optimizer: "AdamW8bit", schedule: "linear" },
    };
    const save = { folder: join(folder, "out"), everySteps: 3, state: true };
    const whole = join(folder, "whole"), later = join(folder, "later");
    equal((await runRecorded(await recipe(folder, { ...training, save }), { folder: whole })).error, null);
    const resume = join(folder, "copied");
    await cp(join(save.folder, "at-step00000003-state"), resume, { recursive: true });
    const { error, events } = await runRecorded(await recipe(folder, { ...training, resume }), { folder: later });
    equal(error, null);
    // What differs is what is saved, which decides nothing.
    deepEqual(events.filter(({ type }) => type === "warning"), []);
    const done = events.flatMap((event) => event.type === "progress" && event.unit === "steps" ? [event.done] : []);
    ok(done[0] >= 3, `begins at step ${done[0]}`);
    for (const name of ["network1", "network2"]) {
      const [a, b] = await Promise.all(
        [whole, later].map((run) => keptNetwork(run, "train-both-networks", name)),
      );
      deepEqual(b, a);
      equal(b.log.length, 7);
    }
    // The state at the end is the same too, but for the settings of saving.
    const again = join(folder, "again");
    equal(
      (await runRecorded(await recipe(folder, { ...training, resume, save: { folder: again, state: true } }), {
        folder: join(folder, "third"),
      })).error,
      null,
    );
    const files = ["state.safetensors", "log.json"];
    for (const file of files) {
      deepEqual(await readFile(join(again, "last-state", file)), await readFile(join(save.folder, "last-state", file)));
    }
  }));

Deno.test("a state from before network 1 thaws goes on to the same bits, and frozen it is not saved", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder), out = join(folder, "out");
    // Two steps an epoch: network 1 is frozen in the first four.
    const made = (training: Partial<d.TrainNetwork2Options>) =>
      d.pipeline("semi")
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents())
        .use(d.pretrainNetwork1({ rank: 2, steps: 2, learningRate: 1e-3 }))
        .use(d.freezeNetwork1({ mode: "semi", annealEpoch: 2 }))
        .use(d.trainNetwork2({ rank: 2, steps: 6, learningRate: 1e-3, ...training }));
    const whole = join(folder, "whole"), later = join(folder, "later");
    const save = { folder: out, everySteps: 3, state: true };
    equal((await runRecorded(made({ save }), { folder: whole })).error, null);
    const files = (await readdir(out)).filter((name) => name.endsWith(".safetensors")).sort();
    // At step 3 network 1 is what it was; at step 6 both have trained.
    const last = ["at-step00000006.safetensors", "at_2-step00000006.safetensors"];
    deepEqual(files, ["at_2-step00000003.safetensors", ...last].sort());
    const resume = join(out, "at-step00000003-state");
    equal((await runRecorded(made({ resume }), { folder: later })).error, null);
    for (const name of ["network1", "network2"]) {
      const [a, b] = await Promise.all([whole, later].map((run) => keptNetwork(run, "train-network-2", name)));
      deepEqual(b, a);
    }
  }));

Deno.test("a state holds network 1, frozen or half-frozen: it goes on in a new folder without its training, to the same bits", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder);
    for (const mode of ["full", "semi"] as const) {
      const out = join(folder, mode), whole = join(folder, `${mode} whole`), later = join(folder, `${mode} later`);
      const start = d.pipeline(mode)
        .use(d.loadBases({ network1: "toy" }))
        .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 1 }))
        .use(d.cacheLatents());
      const training = { rank: 2, steps: 4, learningRate: 1e-3 }, save = { folder: out, everySteps: 2, state: true };
      const freeze = d.freezeNetwork1({ mode, annealEpoch: mode === "semi" ? 1 : 0 });
      const trained = start.use(d.pretrainNetwork1({ rank: 3, alpha: 2, steps: 1, learningRate: 1e-3 }))
        .use(freeze).use(d.trainNetwork2({ ...training, save }));
      equal((await runRecorded(trained, { folder: whole })).error, null);
      const resume = join(out, "at-step00000002-state");
      const loaded = start.use(d.loadNetwork1({ state: resume })).use(freeze).use(
        d.trainNetwork2({ ...training, resume }),
      );
      const { error, events } = await runRecorded(loaded, { folder: later });
      equal(error, null);
      deepEqual(events.filter(({ type }) => type === "warning"), []);
      for (const name of ["network1", "network2"]) {
        const [a, b] = await Promise.all([whole, later].map((run) => keptNetwork(run, "train-network-2", name)));
        // With what its file says of its training.
        deepEqual(b, a, `${name}, ${mode}`);
      }
    }
  }));

Deno.test("loadNetwork1() refuses a folder that is no state, and wants a file or a state", () =>
  inNewFolder(async (folder) => {
    const recipe = d.pipeline("none").use(d.loadBases({ network1: "toy" })).use(d.loadNetwork1({ state: folder }));
    await rejects(recipe.describe(), {
      name: "StateError",
      message: /it has no manifest\.json; wanted a folder that --save_state/,
    });
    for (const options of [{}, { weights: "a", state: "b" }]) {
      throws(() => d.loadNetwork1(options), /^TypeError: Cannot load network 1: weights is .*, must be one of them/);
    }
  }));

Deno.test("a state that does not fit is refused by name, and other settings are told", () =>
  inNewFolder(async (folder) => {
    const save = { folder: join(folder, "out"), everySteps: 1, state: true, names };
    equal((await runRecorded(await recipe(folder, { steps: 2, save }), { folder: join(folder, "first") })).error, null);
    const resume = join(save.folder, "mine-step00000001-state");
    const tried = async (training: Partial<d.TrainBothOptions>) =>
      await runRecorded(await recipe(folder, { steps: 2, resume, ...training }), { folder: join(folder, "run") });
    const refusals: [Partial<d.TrainBothOptions>, RegExp][] = [
      [
        { rank: 4 },
        /network 1 has another rank \(--network_dim\): the state has 2, this training 4\. Take the state's$/,
      ],
      [
        { network2: { convRank: 2 } },
        /network 2 has another rank of 3×3 convolutions \(conv_dim\): the state has null, /,
      ],
      [
        { parts: ["unet"] },
        /network 1 has other parts: the state has \["text_encoder","unet"\], this training \["unet"\]/,
      ],
      [
        { network2: { optimizer: "Lion" } },
        /network 2 has another optimizer \(--optimizer_type\): the state has "AdamW"/,
      ],
      [
        { resume: join(save.folder, "mine-state") },
        /it has done 2 steps, and this training has 2; ask for more steps or/,
      ],
      [{ resume: join(folder, "none") }, /Cannot go on from the state .*none: there is no such folder$/],
      [{ resume: folder }, /it has no manifest\.json; wanted a folder that --save_state wrote/],
    ];
    for (const [training, message] of refusals) match(`${(await tried(training)).error?.message}`, message);

    const { error, events } = await tried({ steps: 3, learningRate: 5e-4, network2: { learningRate: 1e-4 } });
    equal(error, null);
    deepEqual(events.flatMap((event) => event.type === "warning" ? [event.message] : []), [
      `going on from ${resume}: learningRate was 0.001, and is 0.0005 now; it counts from here on`,
      `going on from ${resume}: steps was 2, and is 3 now; the end alone is another`,
      `going on from ${resume}: network2.learningRate was left out, and is 0.0001 now; it counts from here on`,
    ]);

    // One byte of it is another.
    const tensors = join(resume, "state.safetensors"), bytes = await readFile(tensors);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(tensors, bytes);
    match(
      `${(await tried({ steps: 4 })).error?.message}`,
      /state\.safetensors is damaged: it is not what was written\. Beside it \S+mine-\S*state is whole, with 2 steps: name that$/,
    );
    await writeFile(join(save.folder, "mine-state", "log.json"), "[]");
    await writeFile(join(save.folder, "mine-step00000002-state", "manifest.json"), "{");
    match(
      `${(await tried({ steps: 4 })).error?.message}`,
      /state\.safetensors is damaged: it is not what was written\. Copy it again from where it is whole, or begin without it$/,
    );
  }));

Deno.test("saveNetworks() writes PyTorch's formats with the same numbers, and files without metadata", () =>
  inNewFolder(async (folder) => {
    const { network1 } = d.things;
    for (const written of [{ format: "ckpt" }, { format: "pt" }, { metadata: false }] as const) {
      const saved = (await recipe(folder, { steps: 1, parts: ["unet"] }))
        .use(d.saveNetworks({ folder, networks: { network1 }, precision: "bf16", ...written }));
      equal((await runRecorded(saved, { folder: join(folder, "run") })).error, null);
    }
    const { modules, metadata } = await readLora(join(folder, "network1.safetensors"));
    ok(modules.length > 0 && modules.some(({ up }) => up.values.some((value) => value !== 0)));
    for (const ending of ["ckpt", "pt"]) {
      await using file = await openTensorFile(join(folder, `network1.${ending}`));
      deepEqual(
        new Map((await loraFrom(file)).modules.map((each) => [each.name, each])),
        new Map(modules.map((each) => [each.name, each])),
      );
      ok([...file.tensors.values()].every(({ type }) => type === "BF16"));
    }
    // sd-scripts keeps what kind of network it is; the library's hashes are its own.
    const keys = ["ss_network_alpha", "ss_network_dim", "ss_network_module", "sshs_legacy_hash", "sshs_model_hash"];
    deepEqual([...metadata.keys()].sort(), keys);
  }));
