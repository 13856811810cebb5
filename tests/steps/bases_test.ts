import { deepEqual, equal, notDeepEqual, notEqual, rejects } from "node:assert/strict";
import { cp, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { writeSafetensors } from "../../formats/safetensors.ts";
import * as d from "../../mod.ts";
import { loadBasesOn, openBases } from "../../steps/values/bases.ts";
import { hashLargeFile, kohyaModelHashes, withKeptHashes } from "../../steps/values/file_hashes.ts";
import { layouts, ldmCheckpoint, toyBase, toyTensors } from "../models/checkpoint_files.ts";
import { inNewFolder, keptNetwork, runRecorded, smallData } from "./small_training.ts";
import { makeLink } from "../make_link.ts";

const singleFiles = ["a pruned .safetensors", "a .ckpt with state_dict and EMA weights"];

Deno.test("training gives the same bits from a Diffusers folder, an original .safetensors and a .ckpt", () =>
  inNewFolder(async (folder) => {
    const data = await smallData(folder), found: d.Network[] = [];
    for (const [index, layout] of ["a Diffusers folder", ...singleFiles].entries()) {
      const run = join(folder, `run${index}`), base = await layouts[layout](join(folder, `base${index}`));
      await d.pipeline("layouts")
        .use(d.loadBases({ network1: base, config: "toy" }))
        .use(d.readDreambooth({ ...data, resolution: 64, batchSize: 2 }))
        .use(d.cacheLatents())
        .use(d.trainBoth({ rank: 2, steps: 2, learningRate: 1e-2 }))
        .run({ folder: run });
      found.push(await keptNetwork(run, "train-both-networks", "network1"));
    }
    for (const network of found.slice(1)) {
      deepEqual(network.weights, found[0].weights);
      deepEqual(network.log, found[0].log);
    }
    equal(found[0].log.length, 2);
  }));

Deno.test("describe() plans bases in every layout without a GPU", () =>
  inNewFolder(async (folder) => {
    const { requestAdapter } = navigator.gpu;
    navigator.gpu.requestAdapter = () => {
      throw new Error("describe() asked for an adapter");
    };
    try {
      for (const [index, write] of Object.values(layouts).entries()) {
        const network1 = await write(join(folder, `base${index}`)), vae = join(toyBase, "vae");
        const step = d.loadBases({ network1, vae, config: "toy", mixedPrecision: "fp16" });
        const { steps } = await d.pipeline("planned").use(step).describe();
        deepEqual(steps[0].figures, { baseParameters: 4_071_588, baseBytes: 2 * 4_071_588 });
      }
    } finally {
      navigator.gpu.requestAdapter = requestAdapter;
    }
  }));

Deno.test("loadBases() reports megabytes with the time left, and stops when the user wants to", () =>
  inNewFolder(async (folder) => {
    const recipe = d.pipeline("progress").use(d.loadBases({ network1: "toy" }));
    const { events } = await runRecorded(recipe, { folder });
    const progress = events.filter((event) => event.type === "progress");
    // The toy's text encoder and UNet have 4,071,588 numbers of 4 bytes.
    const [first, last] = [progress[0], progress[progress.length - 1]];
    deepEqual([first.total, last.total, last.done, last.unit], [16, 16, 16, "MB"]);
    equal(progress.some(({ done, etaSeconds }) => done > 0 && done < 16 && etaSeconds! > 0), true);

    const stop = new AbortController();
    const onEvent = (event: d.RunEvent) => event.type === "progress" && event.done > 5 && stop.abort();
    const again = d.pipeline("progress").use(d.loadBases({ network1: "toy", mixedPrecision: "fp16" }));
    const { error } = await runRecorded(again, { folder, signal: stop.signal, onEvent });
    equal(error instanceof d.InterruptedError, true);
  }));

Deno.test("openBases() opens two names of one content once, and two of different content twice", () =>
  inNewFolder(async (folder) => {
    const copy = join(folder, "copy"), file = join(folder, "base.safetensors"), link = join(folder, "link.safetensors");
    await cp(toyBase, copy, { recursive: true });
    const shares = async (network1: string, network2: string) => {
      const opened = await openBases({ network1, network2, config: "toy" }, {});
      return opened.network1 === opened.network2;
    };
    equal(await shares("toy", copy), true);
    await writeSafetensors(file, await ldmCheckpoint());
    await makeLink(file, link);
    equal(await shares(file, link), true);

    const unet = join(copy, "unet", "diffusion_pytorch_model.safetensors"), bytes = await readFile(unet);
    bytes[bytes.length - 1] ^= 1;
    await writeFile(unet, bytes);
    equal(await shares("toy", copy), false);
    const { steps } = await d.pipeline("two").use(d.loadBases({ network1: "toy", network2: copy })).describe();
    deepEqual(steps[0].lines, ["each network has its own base"]);
  }));

Deno.test("openBases() refuses two bases with different VAEs, unless one VAE is named for both", () =>
  inNewFolder(async (folder) => {
    const copy = join(folder, "copy"), vae = join(copy, "vae", "diffusion_pytorch_model.safetensors");
    await cp(toyBase, copy, { recursive: true });
    const tensors = await toyTensors("vae");
    tensors[0].bytes[1] ^= 1;
    await writeSafetensors(vae, tensors);
    await rejects(openBases({ network1: "toy", network2: copy }, {}), /differ in VAE\. .* the option vae gives both/);
    // With the same VAE nothing is left that differs.
    const opened = await openBases({ network1: "toy", network2: copy, vae: "toy" }, {});
    equal(opened.network1, opened.network2);
  }));

Deno.test("loadBases() has a fingerprint that follows content, not paths: weights, configuration, VAE", () =>
  inNewFolder(async (folder) => {
    const file = join(folder, "base.safetensors"), moved = join(folder, "moved.ckpt"), config = join(folder, "config");
    const tensors = await ldmCheckpoint();
    await writeSafetensors(file, tensors);
    await cp(file, moved);
    await cp(toyBase, config, { recursive: true });
    const print = (options: Partial<d.LoadBasesOptions> = {}) =>
      d.loadBases({ network1: file, config, ...options }).fingerprint!(new AbortController().signal, folder);
    const first = await print();
    deepEqual(await print(), first);
    deepEqual(await print({ network1: moved }), first);
    notDeepEqual(await print({ vae: join(toyBase, "vae") }), first);

    tensors[7].bytes[0] ^= 1;
    await writeSafetensors(moved, tensors);
    notDeepEqual(await print({ network1: moved }), first);
    const unet = join(config, "unet", "config.json");
    await writeFile(unet, (await readFile(unet, "utf8")).replace('"norm_eps": 1e-05', '"norm_eps": 1e-06'));
    notDeepEqual(await print(), first);
  }));

Deno.test("a checkpoint without a tokenizer gets CLIP's own if its vocabulary is CLIP's", () =>
  inNewFolder(async (folder) => {
    const base = join(folder, "base"), config = join(base, "text_encoder", "config.json");
    await cp(toyBase, base, { recursive: true });
    await rm(join(base, "tokenizer"), { recursive: true });
    await rejects(loadBasesOn({ network1: base }, {}, { warn() {} }), {
      message:
        `Cannot load the tokenizer of ${base}: it has none, and CLIP's own has 49408 tokens, its text encoder 883; ` +
        "a folder tokenizer with vocab.json and merges.txt is wanted",
    });

    const tensors = await toyTensors("text_encoder"), name = "text_model.embeddings.token_embedding.weight";
    const table = tensors.find((tensor) => tensor.name === name)!;
    const larger = { ...table, shape: [49408, 48], bytes: new Uint8Array(49408 * 48 * 2) };
    await writeSafetensors(join(base, "text_encoder", "model.safetensors"), [
      ...tensors.filter((tensor) => tensor !== table),
      larger,
    ]);
    await writeFile(config, (await readFile(config, "utf8")).replace('"vocab_size": 883', '"vocab_size": 49408'));
    const bases = await loadBasesOn({ network1: base }, {}, { warn() {} });
    try {
      const golden = JSON.parse(
        gunzipSync(await readFile(new URL("../golden/models/tokenizer.json.gz", import.meta.url))).toString("utf8"),
      );
      for (const { text, ids } of golden.cases.slice(0, 40)) deepEqual(bases.tokenizer1.encode(text), ids);
    } finally {
      bases.release();
    }
  }));

Deno.test("loadBases refuses a tokenizer with ids that the text encoder has no place for", () =>
  inNewFolder(async (folder) => {
    const base = join(folder, "base"), file = join(base, "tokenizer", "vocab.json");
    await cp(toyBase, base, { recursive: true });
    await writeFile(file, (await readFile(file, "utf8")).replace(/\}\s*$/, ', "zz zz</w>": 883}'));
    await rejects(loadBasesOn({ network1: base }, {}, { warn() {} }), {
      name: "RangeError",
      message:
        `Cannot use the tokenizer of ${base}: it has the id 883, but the text encoder's vocabulary ends at 882. ` +
        "Do they belong together?",
    });
  }));

Deno.test("kohyaModelHashes() gives sd-scripts' hashes of base models", () =>
  inNewFolder(async (folder) => {
    const { base_model_hashes, hash_rules } = JSON.parse(
      await readFile(new URL("../golden/files/lora_files/expected.json", import.meta.url), "utf8"),
    );
    const path = join(folder, "model.ckpt"), content = new Uint8Array(2097152);
    // Byte i is (i · 2654435761 >> 13) & 255; the product needs more than 53 bits only beyond 3.3 million.
    for (let i = 0; i < content.length; i++) content[i] = Math.floor(i * 2654435761 / 8192) & 255;
    for (const { length, legacy, sha256 } of base_model_hashes.cases) {
      await writeFile(path, content.subarray(0, length));
      deepEqual(await kohyaModelHashes(path), { legacy, sha256 });
    }
    const words = ([legacy, sha256]: string[]) => ({ legacy, sha256 });
    deepEqual(await kohyaModelHashes(folder), words(hash_rules.folder_or_missing.folder));
    deepEqual(await kohyaModelHashes(join(folder, "none")), words(hash_rules.folder_or_missing.missing));
  }));

Deno.test("hashes of large files are kept between processes, and made anew when the file changes", () =>
  inNewFolder(async (folder) => {
    const path = join(folder, "large.bin"), kept = join(folder, "hashes.json");
    await writeFile(path, "");
    await truncate(path, 2 ** 24);
    const { size, mtimeMs } = await stat(path), told = "ab".repeat(32);
    // What another process would have written, with a hash that shows where it comes from.
    await writeFile(kept, JSON.stringify({ [path]: { sizeBytes: size, changedMs: mtimeMs, sha256: told } }));
    equal(await withKeptHashes(kept, () => hashLargeFile(path)), told);

    await utimes(path, new Date(), new Date(mtimeMs + 5000));
    const fresh = await withKeptHashes(kept, () => hashLargeFile(path));
    notEqual(fresh, told);
    equal(JSON.parse(await readFile(kept, "utf8"))[path].sha256, fresh);
  }));
