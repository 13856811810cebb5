import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { inNewFolder } from "./small_training.ts";

/** Runs a recipe of one step, or of the steps up to cached latents. */
function runStep(folder: string, step: ReturnType<typeof d.loadBases> | ReturnType<typeof d.readDreambooth>) {
  return d.pipeline("bad input").use(step as ReturnType<typeof d.loadBases>).run({ folder: join(folder, "run") });
}

const picture = join(d.toy.character, "10_sks person", "000.png");

/** What a caller without types passes. */
// deno-lint-ignore no-explicit-any
const untyped = (options: unknown) => options as any;

Deno.test("loadBases() says which folder or file is missing", () =>
  inNewFolder(async (folder) => {
    const missing = join(folder, "none"), base = join(folder, "base");
    await rejects(runStep(folder, d.loadBases({ network1: missing })), {
      message: `Cannot load ${missing}: it is not there; wanted a Diffusers folder, or a .safetensors or .ckpt file`,
    });
    // Before the run, too.
    await rejects(
      d.pipeline("bad input").use(d.loadBases({ network1: missing })).describe(),
      /is not there; wanted a Diffusers/,
    );

    await cp(d.toy.base, base, { recursive: true });
    await rm(join(base, "unet", "diffusion_pytorch_model.safetensors"));
    await rejects(runStep(folder, d.loadBases({ network1: base })), {
      message:
        `Cannot load ${join(base, "unet")}: it holds config.json, expected diffusion_pytorch_model.safetensors or ` +
        "model.safetensors, as diffusers writes them; .fp16 in the name and .bin at its end are read, too",
    });
    await rm(join(base, "tokenizer"), { recursive: true });
    await cp(join(d.toy.base, "unet"), join(base, "unet"), { recursive: true });
    await rejects(runStep(folder, d.loadBases({ network1: base })), {
      message:
        `Cannot load the tokenizer of ${base}: it has none, and CLIP's own has 49408 tokens, its text encoder 883; a folder ` +
        "tokenizer with vocab.json and merges.txt is wanted",
    });
  }));

Deno.test("readDreambooth() and loadPriors() name the folder or file that cannot be used", () =>
  inNewFolder(async (folder) => {
    const read = (train: string, options: Partial<d.ReadDreamboothOptions> = {}) =>
      runStep(folder, d.readDreambooth({ network1: { train }, resolution: 64, batchSize: 1, ...options }));
    const missing = join(folder, "none");
    await rejects(read(missing), {
      message: `Cannot read the network 1 training folder ${missing}: there is no such folder`,
    });
    await rejects(
      d.pipeline("bad input").use(
        d.readDreambooth({ network1: { train: d.toy.character }, resolution: 64, batchSize: 1 }),
      )
        .use(d.loadPriors({ network1: missing })).run({ folder: join(folder, "run") }),
      { message: `Cannot read the network 1 regularization folder ${missing}: there is no such folder` },
    );

    const unnamed = join(folder, "unnamed");
    await mkdir(join(unnamed, "person"), { recursive: true });
    await cp(picture, join(unnamed, "person", "a.png"));
    await rejects(read(unnamed), {
      message:
        `Cannot use the network 1 training folder ${unnamed}: its subfolders are person; it must hold subfolders called ` +
        "N_name with the images in them, N being the repeats (10_sks dog)",
    });

    const orphan = join(folder, "orphan", "2_sks"), caption = join(orphan, "b.txt");
    await mkdir(orphan, { recursive: true });
    await cp(picture, join(orphan, "a.png"));
    await writeFile(caption, "a caption");
    await rejects(read(join(folder, "orphan")), {
      message:
        `Cannot use the network 1 training folder ${orphan}: ${caption} is a caption without an image: no b with an ` +
        "extension of .png .PNG .jpg .JPG .jpeg .JPEG .webp .WEBP .bmp .BMP beside it; add the image or remove it",
    });

    await rejects(read(d.toy.character, { resolution: 7 }), {
      name: "RangeError",
      message: "Cannot use the image size 7 x 7 of network 1: both sides must be whole numbers of pixels, 8 at least",
    });
    await rejects(read(d.toy.character, { batchSize: 0 }), {
      name: "RangeError",
      message: "Cannot use the data of network 1: batchSize is 0, must be a whole number above 0",
    });
  }));

Deno.test("readDreambooth() warns of what it leaves out", () =>
  inNewFolder(async (folder) => {
    const train = join(folder, "data"), outside = join(train, "person");
    await mkdir(join(train, "1_sks person"), { recursive: true });
    await cp(picture, join(train, "1_sks person", "a.png"));
    await mkdir(outside);
    const recipe = d.pipeline("left out").use(d.readDreambooth({ network1: { train }, resolution: 64, batchSize: 1 }));
    const warnings: string[] = [];
    await recipe.run({
      folder: join(folder, "run"),
      onEvent: (event) => event.type === "warning" && warnings.push(event.message),
    });
    const sentence = `${outside} is left out: its name is not N_name with N repeats, N at least 1 (10_sks dog)`;
    equal(warnings.join(), sentence);
    ok((await recipe.describe()).steps[0].lines.includes(sentence));
  }));

Deno.test("readDreambooth() names a file that is no picture, cacheLatents() a picture that is cut off", () =>
  inNewFolder(async (folder) => {
    const bad = join(folder, "data", "2_sks person", "a.png");
    await mkdir(join(bad, ".."), { recursive: true });
    const recipe = d.pipeline("bad picture")
      .use(d.loadBases({ network1: "toy" }))
      .use(d.readDreambooth({ network1: { train: join(folder, "data") }, resolution: 64, batchSize: 1 }))
      .use(d.cacheLatents());
    const fails = async (step: string, message: string) => {
      const failed: string[] = [];
      const onEvent = (event: d.RunEvent) => void (event.type === "step-failed" && failed.push(event.step));
      await rejects(recipe.run({ folder: join(folder, "run"), onEvent }), { name: "ImageError", message });
      deepEqual(failed, [step]);
    };
    await writeFile(bad, "not a picture");
    const isNone = "its first bytes are not those of a PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF";
    await fails("read data", `Cannot read image ${bad}: ${isNone}`);
    const whole = await readFile(picture), half = Math.floor(whole.length / 2);
    await writeFile(bad, whole.subarray(0, half));
    const isCut = `the PNG data end too early, after ${half} bytes; fetch or export it again`;
    await fails("cache latents", `Cannot read image ${bad}: ${isCut}`);
  }));

Deno.test("every step refuses unknown options, with a suggestion where one is near", () => {
  const cases: [() => unknown, string][] = [
    [() => d.pretrainNetwork1(untyped({ rnk: 16 })), "'pretrain network 1': unknown option rnk; did you mean rank?"],
    [
      () => d.trainNetwork2(untyped({ rank: 4, learning_rate: 1e-4 })),
      "'train network 2': unknown option learning_rate; did you mean learningRate?",
    ],
    [
      () => d.trainBoth(untyped({ rank: 4, orthogonality: { unett: 1 } })),
      "'train both networks': unknown option orthogonality.unett; did you mean unet?",
    ],
    [
      () => d.trainNetwork2WithoutOrthogonality(untyped({ rank: 4, sead: 1 })),
      "'train network 2 without orthogonality': unknown option sead; did you mean seed?",
    ],
    [() => d.loadBases(untyped({ network: "toy" })), "'load bases': unknown option network; did you mean network1?"],
    [
      () => d.readDreambooth(untyped({ network1: { trian: "data" } })),
      "'read data': unknown option network1.trian; did you mean train?",
    ],
    [
      () => d.readDreambooth(untyped({ batchsize: 1 })),
      "'read data': unknown option batchsize; did you mean batchSize?",
    ],
    [() => d.readDreambooth(untyped({ batchSize: 1 })), "'read data': network1 is undefined, must be an object"],
    [() => d.loadPriors(untyped({ wieght: 1 })), "'load priors': unknown option wieght; did you mean weight?"],
    [
      () => d.cacheLatents(untyped({ disk: true })),
      "'cache latents': unknown option disk; its options are folder, batchSize, maxGpuBytes, mixedPrecision",
    ],
    [() => d.freezeNetwork1(untyped({ mod: "full" })), "'freeze network 1': unknown option mod; did you mean mode?"],
    [() => d.sample(untyped({ column: [] })), "'sample': unknown option column; did you mean columns?"],
    [
      () => d.sample(untyped({ columns: [{ name: "a", promt: "b", networks: [] }] })),
      "'sample': unknown option columns[0].promt; did you mean prompt?",
    ],
    [
      () => d.measureRetention(untyped({ region: "" })),
      "'measure retention': unknown option region; did you mean regions?",
    ],
    [
      () => d.pretrainNetwork1(untyped({ rank: 4, save: { folder: "out", evryEpochs: 1 } })),
      "'train': unknown option save.evryEpochs; did you mean everyEpochs?",
    ],
    [() => d.saveNetworks(untyped({ fodler: "" })), "'save networks': unknown option fodler; did you mean folder?"],
    [() => d.writeReport(untyped({ titel: "" })), "'write report': unknown option titel; did you mean title?"],
    [
      () => d.pretrainNetwork1(untyped(undefined)),
      "'pretrain network 1': its options are undefined, must be an object",
    ],
  ];
  for (const [make, message] of cases) throws(make, { name: "TypeError", message: `Cannot make step ${message}` });
});

Deno.test("names of files may not lead out of their folder, nor be one another's", () => {
  const names = (network1: string, network2?: string) => () =>
    d.pretrainNetwork1({
      rank: 4,
      save: { folder: "out", names: { network1, ...(network2 === undefined ? {} : { network2 }) } },
    });
  for (const name of ["../mine", "/mine", "a/b", "a\\b", "..", "", "a\0b", "a\nb"]) {
    throws(names(name), { name: "TypeError", message: /^Cannot save networks: ".*" is no file name; use letters, / });
  }
  throws(
    names("Mine", "mine"),
    /^TypeError: Cannot save networks: both would be called Mine; give save\.names\.network2/,
  );
  for (const name of ["mine", "mine v2 (a)", "né_日本-1.5"]) names(name)();
});

Deno.test("training steps refuse values out of range before anything runs", () => {
  const cases: [object, string][] = [
    [{ steps: 0 }, "Cannot train: steps is 0, must be a whole number above 0"],
    [{ accumulationSteps: 1.5 }, "Cannot train: accumulationSteps is 1.5, must be a whole number above 0"],
    [{ learningRate: NaN }, "Cannot train: learningRate is NaN, must be a number above 0"],
    [
      { schedule: "cosin" },
      'Cannot train: schedule is "cosin", must be one of constant, constant_with_warmup, linear, cosine, ' +
      "cosine_with_restarts, polynomial, adafactor",
    ],
    [{ unetLearningRate: -1 }, "Cannot train: unetLearningRate is -1, must be a number from 0 on"],
    [{ lossType: "l3" }, 'Cannot train: lossType is "l3", must be one of l2, l1, huber, smooth_l1'],
    [{ huberC: 0 }, "Cannot train: huberC is 0, must be a number above 0"],
    [{ zeroTerminalSnr: 1 }, "Cannot train: zeroTerminalSnr is 1, must be true or false"],
    [
      { optimizer: "Lion8bit" },
      "Cannot use optimizer Lion8bit: Lion is here with its one moment in f32 alone, half of what AdamW keeps; use Lion " +
      "or AdamW8bit",
    ],
    [
      { optimizer: "sgdnesterov8bit" },
      "Cannot use optimizer sgdnesterov8bit: bitsandbytes' 8-bit SGD leaves Nesterov's momentum out; use SGDNesterov " +
      "or AdamW8bit",
    ],
    [
      { optimizer: "prodigy", optimizerArguments: { betas: [0.9] } },
      "Cannot use Prodigy: betas is (0.9), must be 2 numbers, from 0 to below 1",
    ],
    [
      { optimizer: "DAdaptAdam", textEncoderLearningRate: 0.5, unetLearningRate: 1 },
      "Cannot use DAdaptAdam: it finds one learning rate for the whole network, the text encoder has 0.5 and the UNet " +
      "1; give both the same",
    ],
    [
      { schedule: "adafactor" },
      "Cannot use schedule adafactor with AdamW: it shows the rates that AdaFactor finds with relative_step=True",
    ],
    [{ seed: -1 }, "Cannot train: seed is -1, must be a whole number from 0 on"],
    [{ maxGradNorm: -1 }, "Cannot train: maxGradNorm is -1, must be a number from 0 on"],
    [{ gradientCheckpointing: "yes" }, 'Cannot train: gradientCheckpointing is "yes", must be true or false'],
    [{ maxTokenLength: 100 }, "Cannot train: maxTokenLength is 100, must be 75, 150 or 225"],
    [{ rank: 0 }, "Cannot make a network: rank is 0, must be a whole number above 0"],
    [
      { save: { folder: "out", everyEpochs: 0 } },
      "Cannot save networks: save.everyEpochs is 0, must be a whole number above 0",
    ],
    [
      { save: { folder: "out", precision: "f16" } },
      'Cannot save networks: save.precision is "f16", must be float, fp16 or bf16',
    ],
    [{ resume: "" }, 'Cannot train: resume is "", must be the path of a state\'s folder'],
    [{ parts: ["text"] }, 'Cannot make a network: parts is ["text"], must be text_encoder, unet or both'],
  ];
  for (const [options, message] of cases) {
    throws(() => d.pretrainNetwork1(untyped({ rank: 4, ...options })), { name: "RangeError", message });
  }
  throws(() => d.pretrainNetwork1({ rank: 4, optimizerArguments: { weigth_decay: 0.1 } }), {
    name: "TypeError",
    message: "Cannot use AdamW: unknown argument weigth_decay; its arguments are betas, eps, weight_decay, amsgrad, " +
      "maximize, foreach, capturable, differentiable, fused",
  });
  throws(() => d.trainBoth({ rank: 4, network2: { noiseOffset: -0.1 } }), {
    name: "RangeError",
    message: "Cannot train: network2.noiseOffset is -0.1, must be a number from 0 on",
  });
  throws(() => d.trainBoth({ rank: 4, orthogonality: { unet: NaN } }), {
    name: "RangeError",
    message: "Cannot train: orthogonality.unet is NaN, must be a number",
  });
});

Deno.test("sample() refuses sizes that are no multiples of 8 pixels", () => {
  throws(() => d.sample({ networks: {}, columns: [], rows: [], width: 100, height: 64 }), {
    name: "RangeError",
    message: "Cannot sample: width is 100 pixels, must be a multiple of 8 (one latent)",
  });
});
