import { deepEqual, equal, match, ok } from "node:assert/strict";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SafetensorsFile } from "../../formats/safetensors.ts";
import * as d from "../../mod.ts";
import { copyPictures, inNewFolder, runRecorded } from "./small_training.ts";

Deno.test("cacheLatents() encodes a changed picture, size or VAE anew, and reports a damaged entry", () =>
  inNewFolder(async (folder) => {
    const train = await copyPictures(d.toy.character, join(folder, "data"), 2);
    const base = join(folder, "base"), cache = join(folder, "latents");
    await cp(d.toy.base, base, { recursive: true });
    /** Runs up to the latents in one run folder; says what is new in the cache. */
    const encode = async (resolution: number) => {
      const before = await readdir(cache).catch((): string[] => []);
      const recipe = d.pipeline("latents")
        .use(d.loadBases({ network1: base }))
        .use(d.readDreambooth({ network1: { train }, resolution, batchSize: 1 }))
        .use(d.cacheLatents({ folder: cache }));
      const { error, events, ran } = await runRecorded(recipe, { folder: join(folder, "run") });
      if (error) throw error;
      const files = await readdir(cache), warnings = events.filter((event) => event.type === "warning");
      return { files, made: files.filter((file) => !before.includes(file)), warnings, ran };
    };

    equal((await encode(64)).made.length, 2);
    deepEqual((await encode(64)).ran, []);

    const pictures = join(train, "1_sks person"),
      [first, second] = (await readdir(pictures)).filter((f) => /png$/.test(f));
    await cp(join(pictures, second), join(pictures, first));
    const changed = await encode(64);
    // It is now the same picture as the second, whose latents are there; the step still ran to find that out.
    deepEqual(changed.made, []);
    ok(changed.ran.includes("cache latents"));
    const [, other] = (await readdir(join(d.toy.outfit, "10_zkz clothes"))).filter((f) => /png$/.test(f));
    await cp(join(d.toy.outfit, "10_zkz clothes", other), join(pictures, first));
    equal((await encode(64)).made.length, 1);

    const larger = await encode(128);
    equal(larger.made.length, 2);
    await using entry = await SafetensorsFile.open(join(cache, larger.made[0]));
    deepEqual(entry.entry("mean").shape, [16, 16, 4]);

    // Of the weights' last bytes the sign of one f16 number.
    const weights = join(base, "vae", "diffusion_pytorch_model.safetensors"), bytes = await readFile(weights);
    bytes[bytes.length - 1] ^= 0x80;
    await writeFile(weights, bytes);
    const [remade] = (await encode(128)).made;
    equal((await encode(128)).made.length, 0);

    const damaged = join(cache, remade), whole = await readFile(damaged);
    await writeFile(damaged, whole.subarray(0, whole.length - 3));
    const read = join(folder, "run", "steps", "03-cache-latents");
    await Deno.remove(read, { recursive: true });
    const { warnings, made } = await encode(128);
    deepEqual(made, []);
    equal(warnings.length, 1);
    match(d.eventText(warnings[0]), /^cache latents: warning: .*\.safetensors is damaged and made anew: /);
    ok(d.eventText(warnings[0]).includes(remade));
    deepEqual(await readFile(damaged), whole);
  }));
