import { ok } from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CaptionError, readCaption } from "../../data/caption.ts";
import { ImageError } from "../../data/image_error.ts";
import { readImage } from "../../data/image.ts";
import { readImageSize } from "../../data/image_size.ts";
import { MetadataError, readMetadataFile } from "../../data/metadata_file.ts";
import { parseWeights } from "../../models/clip/weighted_prompt.ts";
import { DatasetConfigError, readDatasetConfig } from "../../steps/dataset_config/read_dataset_config.ts";
import { fuzzTest } from "./fuzz_case.ts";
import { mutated } from "./mutation.ts";

const golden = fileURLToPath(new URL("../golden/files/", import.meta.url)), folder = await Deno.makeTempDir();
const utf8 = (text: string) => new TextEncoder().encode(text);

function filesOf(name: string, keep: RegExp): Uint8Array[] {
  return readdirSync(join(golden, name)).filter((file) => keep.test(file)).map((file) =>
    readFileSync(join(golden, name, file))
  );
}

/** What is read, from what, and which error may come of it. */
const kinds: readonly {
  readonly name: string;
  readonly file: string;
  readonly seeds: readonly Uint8Array[];
  readonly read: (file: string) => Promise<unknown>;
  readonly error: new (...given: never[]) => Error;
}[] = [
  {
    name: "file of data sets",
    file: "data.toml",
    seeds: filesOf("dataset_config", /^valid_.*\.toml$/).filter(({ length }) => length > 0),
    read: readDatasetConfig,
    error: DatasetConfigError,
  },
  {
    name: "JSON file of data sets",
    file: "data.json",
    seeds: [
      utf8('{"general": {"resolution": [64, 128]}, "datasets": [{"subsets": [{"image_dir": "a", "num_repeats": 3}]}]}'),
    ],
    read: readDatasetConfig,
    error: DatasetConfigError,
  },
  {
    name: "metadata file",
    file: "meta.json",
    seeds: [utf8('{"a": {"caption": "a cat", "tags": "x, y", "train_resolution": [64, 128]}, "b.png": {}}')],
    read: (file) => readMetadataFile(file, join(folder, "set")),
    error: MetadataError,
  },
  {
    name: "caption",
    file: "a.txt",
    seeds: [utf8("1girl, (smile:1.2), \u00e9t\u00e9, \u65e5\u672c\nmore"), utf8("(((a:1.5) [b] \\(c\\)")],
    read: async (file) => parseWeights(await readCaption(file)),
    error: CaptionError,
  },
  {
    name: "picture",
    file: "a.png",
    seeds: filesOf("images", /^(exif_6|rgb|rgba|grey|palette|one_bit|lossy|cmyk).*\.(png|jpg|webp|bmp|gif)$/),
    read: async (file) => {
      const size = await readImageSize(file), image = await readImage(file);
      ok(image.width === size.width && image.height === size.height, `${JSON.stringify(size)} ${image.width}`);
    },
    error: ImageError,
  },
];

await mkdir(join(folder, "set"));
for (const name of ["a.png", "b.png"]) await writeFile(join(folder, "set", name), "");

for (const { name, file, seeds, read, error } of kinds) {
  const path = join(folder, file);
  fuzzTest(
    `A changed ${name} is read, or refused by an error that names the file, in bounded time and memory`,
    500,
    mutated(seeds),
    async (bytes) => {
      await writeFile(path, bytes);
      try {
        await read(path);
      } catch (thrown) {
        const isTyped = thrown instanceof error && thrown.message.includes(path);
        ok(isTyped, String(thrown instanceof Error ? thrown.stack : thrown));
      }
    },
  );
}
