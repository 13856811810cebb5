import { deepEqual, equal, rejects } from "node:assert/strict";
import { join } from "node:path";
import { tagFrequency } from "./describe_dataset.ts";
import { MetadataError, readMetadataFile } from "./metadata_file.ts";
import { withFiles } from "./_test_files.ts";

const { fine_tuning } = JSON.parse(
  await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/captions.json")),
);

Deno.test("readMetadataFile() joins captions and tags, and counts tags, as sd-scripts does", async () => {
  const { entries, captions, tag_frequency } = fine_tuning, names = Object.keys(entries);
  const files = Object.fromEntries(names.map((name) => [`set/${name}.png`, ""]));
  await withFiles({ ...files, "meta.json": JSON.stringify(entries) }, async (root) => {
    const images = await readMetadataFile(join(root, "meta.json"), join(root, "set"));
    deepEqual(images.map(({ path }) => path), names.map((name) => join(root, "set", `${name}.png`)));
    deepEqual(Object.fromEntries(images.map(({ caption }, at) => [names[at], caption])), captions);
    const counted = tagFrequency(images.flatMap(({ countedTags }) => countedTags === undefined ? [] : [countedTags]));
    deepEqual(Object.fromEntries(counted), tag_frequency);
  });
});

Deno.test("readMetadataFile() finds pictures by path, by file name and by name, in the file's order", async () => {
  await withFiles({ "set/10.webp": "", "set/9.png": "", "set/9.jpg": "", "else/a.png": "" }, async (root) => {
    const path = join(root, "else/a.png"), file = join(root, "meta.json");
    const text = `{"${path}": {"caption": "p"}, "9": {"tags": "n"}, "10.webp": {"train_resolution": [64, 128]}}`;
    await Deno.writeTextFile(file, text);
    deepEqual(await readMetadataFile(file, join(root, "set")), [
      { path, caption: "p" },
      { path: join(root, "set/9.jpg"), caption: "n" },
      { path: join(root, "set/10.webp"), caption: "", bucket: { width: 64, height: 128 } },
    ]);
  });
});

Deno.test("readMetadataFile() takes latents where there is no picture, by path or name, with a size that something tells", async () => {
  const names = ["a.npz", "a_flip.npz", "b.png", "b.npz", "c_0096x0128_sd.npz", "d.npz"];
  const files = Object.fromEntries(names.map((name) => [`set/${name}`, ""]));
  await withFiles({ ...files, "else/e.npz": "" }, async (root) => {
    const file = join(root, "meta.json"), size = { width: 48, height: 64 }, at = (name: string) => join(root, name);
    const sized = { tags: "t", train_resolution: [48, 64] };
    // As sd-scripts' prepare_buckets_latents.py finds them; where there is a picture, that is what counts.
    await Deno.writeTextFile(
      file,
      JSON.stringify({ a: sized, b: sized, c: { tags: "t" }, [at("set/d.png")]: sized, [at("else/e.png")]: sized }),
    );
    deepEqual(await readMetadataFile(file, at("set")), [
      { path: at("set/a.npz"), latentsOf: size, caption: "t", bucket: size },
      { path: at("set/b.png"), caption: "t", bucket: size },
      { path: at("set/c_0096x0128_sd.npz"), latentsOf: { width: 96, height: 128 }, caption: "t" },
      { path: at("set/d.npz"), latentsOf: size, caption: "t", bucket: size },
      { path: at("else/e.npz"), latentsOf: size, caption: "t", bucket: size },
    ]);
  });
});

Deno.test("readMetadataFile() says which entry is wrong, and how", async () => {
  const files = { "set/a.png": "", "set/b.npz": "" };
  const cases: [string, string][] = [
    ['{"x": {}}', 'there is no picture "x": ROOT/set has no picture of that name, and no latents'],
    [
      '{"b": {}}',
      '"b" has latents alone, ROOT/set/b.npz, and no train_resolution: give the size in pixels that they were made at, ' +
      "or the picture",
    ],
    ['{"a": {"caption": 5}}', 'caption of "a" must be text'],
    ['{"a": {"train_resolution": [64]}}', 'train_resolution of "a" must be width and height in pixels'],
    ['{"a": "text"}', 'the entry "a" must be an object'],
    ["[]", "it must be one object, with an entry for each picture"],
    ['{"a": {},}', "it is no JSON (Expected a name in quotes at character 9)"],
    ["\xff", "it is not UTF-8 text"],
  ];
  for (const [text, reason] of cases) {
    await withFiles({ ...files, "meta.json": text }, async (root) => {
      const error = await readMetadataFile(join(root, "meta.json"), join(root, "set")).then(() => null, (e) => e);
      equal(error instanceof MetadataError, true, String(error));
      equal(
        error.message.replaceAll(root, "ROOT").replace(/\(.*\)/, ""),
        `Cannot read the metadata ROOT/meta.json: ${reason}`.replace(/\(.*\)/, ""),
      );
    });
  }
  await rejects(readMetadataFile("/no/such.json"), /Cannot read the metadata .no.such.json: there is no such file/);
});

Deno.test("tagFrequency() counts as sd-scripts does", async () => {
  const { tag_frequency } = JSON.parse(
    await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/captions.json")),
  );
  for (const [captions, counts] of tag_frequency.rows) deepEqual([...tagFrequency(captions)], counts);
  const { first, second, result } = tag_frequency.same_folder_twice;
  deepEqual(Object.fromEntries(tagFrequency([...first, ...second])), result);
});
