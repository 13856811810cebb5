import { ok } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { readTextEncoderConfig } from "../../models/clip/config.ts";
import { CLIPTextModel } from "../../models/clip/text_encoder.ts";
import { ConfigReader, readConfigJson } from "../../models/config_reader.ts";
import { NoiseSchedule } from "../../models/noise/schedule.ts";
import { Source } from "../../models/source.ts";
import { readUNetConfig } from "../../models/unet/config.ts";
import { UNet2DConditionModel } from "../../models/unet/unet_2d_condition.ts";
import { AutoencoderKL } from "../../models/vae/autoencoder_kl.ts";
import { readVaeConfig } from "../../models/vae/config.ts";
import { Weights } from "../../models/weights.ts";
import { fuzzTest } from "./fuzz_case.ts";
import { mutated } from "./mutation.ts";

const golden = fileURLToPath(new URL("../golden/models/", import.meta.url));
const toy = fileURLToPath(new URL("../../assets/toy/base/", import.meta.url));
const folder = await Deno.makeTempDir();

/** Reads a configuration and builds what it describes. */
type Build = (file: string) => Promise<void>;

const kinds: readonly { readonly name: string; readonly seed: string; readonly build: Build }[] = [
  {
    name: "text encoder",
    seed: `${golden}text_encoder_tiny.config.json`,
    build: async (file) => {
      new CLIPTextModel(new Source(new Weights("text_encoder")), readTextEncoderConfig(await ConfigReader.open(file)));
    },
  },
  {
    name: "UNet",
    seed: `${golden}unet_tiny.config.json`,
    build: async (file) => {
      new UNet2DConditionModel(new Source(new Weights("unet")), readUNetConfig(await ConfigReader.open(file)));
    },
  },
  {
    name: "VAE",
    seed: `${golden}vae_tiny.config.json`,
    build: async (file) => {
      new AutoencoderKL(new Source(new Weights("vae")), readVaeConfig(await ConfigReader.open(file)));
    },
  },
  {
    name: "noise schedule",
    seed: join(toy, "scheduler", "scheduler_config.json"),
    build: async (file) => {
      NoiseSchedule.fromConfig((await readConfigJson(file)).json, { file });
    },
  },
];

/** Texts of configurations with a value replaced, or with bytes changed. */
function changed(seed: string): fc.Arbitrary<Uint8Array> {
  const bytes = readFileSync(seed), json = JSON.parse(bytes.toString());
  const value = fc.oneof(
    fc.constantFrom(0, 1, 2, 3, -1, 0.5, 1e9, 2 ** 53, 1e308, null, [], [1e9], [2, 2]),
    fc.jsonValue(),
  );
  const replaced = fc.tuple(fc.constantFrom(...Object.keys(json)), value).map(([name, value]) => {
    return new TextEncoder().encode(JSON.stringify({ ...json, [name]: value }));
  });
  return fc.oneof(replaced, mutated([bytes]));
}

for (const { name, seed, build } of kinds) {
  const file = join(folder, `${name}.json`);
  fuzzTest(
    `A changed configuration of a ${name} gives it or an error that names the file, in bounded time and memory`,
    300,
    changed(seed),
    async (bytes) => {
      await writeFile(file, bytes);
      try {
        await build(file);
      } catch (error) {
        const isTyped = [SyntaxError, RangeError, TypeError].some((kind) => error instanceof kind);
        ok(isTyped && (error as Error).message.includes(file), String((error as Error).stack));
      }
    },
  );
}
