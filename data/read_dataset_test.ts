import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { cpuUsage } from "node:process";
import sharp from "sharp";
import { Dataset } from "./dataset.ts";
import type { DatasetOptions } from "./dataset_options.ts";
import { describeDataset } from "./describe_dataset.ts";
import { readDataset } from "./read_dataset.ts";
import { withFiles } from "./_test_files.ts";

async function draw(path: string, width: number, height: number): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  await sharp({ create: { width, height, channels: 3, background: "red" } }).png().toFile(path);
}

/** Two folders of two pictures, one of them in both shapes. */
async function withPictures(use: (root: string) => Promise<void>): Promise<void> {
  await withFiles({ "train/3_sks dog/b.txt": "text, of b" }, async (root) => {
    await draw(join(root, "train/3_sks dog/a.png"), 100, 60);
    await draw(join(root, "train/3_sks dog/b.png"), 60, 100);
    await draw(join(root, "train/1_cat/a.png"), 64, 64);
    await draw(join(root, "reg/1_dog/r.png"), 200, 100);
    await use(root);
  });
}

const read = (options: DatasetOptions) => readDataset(options, { name: "network 1" });

Deno.test("readDataset() reads folders of folders: repeats and class tokens by name, all else by settings", async () => {
  await withPictures(async (root) => {
    const { source, warnings } = await read({
      trainDataDir: join(root, "train"),
      regDataDir: join(root, "reg"),
      resolution: [64, 128],
      numRepeats: 9,
      shuffleCaption: true,
      keepTokens: -1,
    });
    deepEqual(warnings, []);
    const [cat, dog, prior] = source.subsets;
    deepEqual([cat, dog, prior].map(({ path }) => path.slice(root.length)), [
      "/train/1_cat",
      "/train/3_sks dog",
      "/reg/1_dog",
    ]);
    deepEqual(
      [cat, dog, prior].map(({ settings: { numRepeats, classTokens, isReg } }) => [numRepeats, classTokens, isReg]),
      [
        [1, "cat", false],
        [3, "sks dog", false],
        [1, "dog", true],
      ],
    );
    deepEqual(dog.images.map(({ caption, size }) => [caption, size.width, size.height]), [
      ["sks dog", 100, 60],
      ["text, of b", 60, 100],
    ]);
    ok(source.subsets.every(({ settings }) => settings.shuffleCaption && settings.keepTokens === 0));
    deepEqual(source.settings.resolution, { width: 64, height: 128 });
  });
});

Deno.test("readDataset() prefers a subset's own settings, and leaves out what is named twice or not repeated", async () => {
  await withPictures(async (root) => {
    const dog = join(root, "train/3_sks dog"), cat = join(root, "train/1_cat");
    await mkdir(join(root, "none"));
    const { source, warnings } = await read({
      resolution: 64,
      flipAug: true,
      captionDropoutRate: 0.5,
      subsets: [
        { imageDir: dog, captionDropoutRate: 0, classTokens: "dog" },
        { imageDir: cat, flipAug: false, numRepeats: 2 },
        { imageDir: dog, numRepeats: 7 },
        { imageDir: join(root, "reg/1_dog"), numRepeats: 0 },
        { imageDir: join(root, "none") },
      ],
    });
    deepEqual(source.subsets.map(({ path }) => path), [dog, cat]);
    const [first, second] = source.subsets.map(({ settings }) => settings);
    deepEqual([first.flipAug, first.captionDropoutRate, first.classTokens, first.numRepeats], [true, 0, "dog", 1]);
    deepEqual([second.flipAug, second.captionDropoutRate, second.classTokens, second.numRepeats], [
      false,
      0.5,
      null,
      2,
    ]);
    deepEqual(warnings.map((text) => text.replaceAll(root, "ROOT")), [
      "ROOT/train/1_cat/a.png has an empty caption: no caption file, and no class tokens",
      "ROOT/train/3_sks dog is named twice: the second time is left out",
      "ROOT/reg/1_dog is left out: its repeats are 0",
      "ROOT/none has no images",
    ]);
  });
});

Deno.test("readDataset() takes sizes from metadata that give one to every picture", async () => {
  await withPictures(async (root) => {
    const folder = join(root, "train/3_sks dog"), metadataFile = join(root, "meta.json");
    const write = (entries: object) => Deno.writeTextFile(metadataFile, JSON.stringify(entries));
    const data = async (options: DatasetOptions) => {
      const { source } = await read({ subsets: [{ metadataFile, imageDir: folder, numRepeats: 2 }], ...options });
      return new Dataset([source], { name: "network 1", seed: 1 });
    };
    await write({ a: { caption: "x", train_resolution: [128, 64] }, b: { train_resolution: [64, 64] } });
    const dataset = await data({});
    const [{ buckets, isBucketed, meanAspectError }] = describeDataset(dataset).parts;
    deepEqual(buckets.map(({ width, height, samples }) => [width, height, samples]), [[64, 64, 2], [128, 64, 2]]);
    deepEqual([isBucketed, meanAspectError], [true, 0]);
    // 100 × 60 covers 128 × 64 at 128 × 77 (76.8), 60 × 100 covers 64 × 64 at 64 × 107.
    deepEqual(dataset.images.map(({ resized }) => [resized.width, resized.height]), [[128, 77], [64, 107]]);
    await rejects(data({ bucketNoUpscale: true }), /so bucketNoUpscale cannot be used/);
    await write({ a: { train_resolution: [128, 64] }, b: {} });
    await rejects(data({}), /Cannot make the data set of network 1: resolution is missing; give width and height/);
    equal((await data({ resolution: 64 })).buckets.length, 1);
  });
});

Deno.test("readDataset() refuses settings and subsets that cannot be meant", async () => {
  await withPictures(async (root) => {
    const imageDir = join(root, "train/1_cat"), data = `network 1, ${imageDir}`;
    const cases: [DatasetOptions, string][] = [
      [
        { subsets: [{ classTokens: "a" }] },
        "Cannot read the data of network 1: subset 1 has neither imageDir nor metadataFile",
      ],
      [
        { subsets: [{ imageDir }, { metadataFile: "m.json" }] },
        "Cannot read the data of network 1: folders and metadata files stand in one data set; make two data sets of them",
      ],
      [
        { subsets: [{ imageDir, captionDropoutRate: 1.5 }] },
        `Cannot use the data of ${data}: captionDropoutRate is 1.5, must be a number from 0 to 1`,
      ],
      [
        { faceCropAugRange: [4, 2], subsets: [{ imageDir }] },
        `Cannot use the data of ${data}: faceCropAugRange is [4,2], must be two numbers above 0, the smaller one first`,
      ],
      [
        { numRepeats: 1.5, subsets: [{ imageDir }] },
        `Cannot use the data of ${data}: numRepeats is 1.5, must be a whole number`,
      ],
      [
        { resolution: [512, 0.5] },
        "Cannot use the data of network 1: resolution is [512,0.5], must be a whole number of pixels, or width and height",
      ],
    ];
    for (const [options, message] of cases) await rejects(read(options), { message });
    await Deno.writeTextFile(join(imageDir, "b.png"), "no picture");
    await rejects(read({ subsets: [{ imageDir }] }), { name: "ImageError", fault: "not_image" });
  });
});

Deno.test("readDataset() says when a folder of folders has no picture", async () => {
  await withFiles({ "train/3_cat/a.txt.md": "" }, async (root) => {
    await rejects(read({ trainDataDir: join(root, "train") }), {
      name: "DataFolderError",
      message: `Cannot use the network 1 training folder ${join(root, "train")}: there are no images (.png .PNG .jpg ` +
        ".JPG .jpeg .JPEG .webp .WEBP .bmp .BMP) in its 1 N_name subfolders",
    });
  });
});

Deno.test("readDataset() takes CPU time in proportion to pictures, captions and entries of metadata, 0.2 ms each at most", async () => {
  await withFiles({}, async (root) => {
    const folder = join(root, "train/2_cat"), metadataFile = join(root, "meta.json");
    await draw(join(folder, "0.png"), 16, 8);
    const picture = await Deno.readFile(join(folder, "0.png"));
    const caption = Array.from({ length: 10 }, (_, line) => `line ${line}, with, some, tags`).join("\n");
    const cpuMilliseconds = async (from: number, count: number) => {
      for (let at = from; at < count; at++) {
        await Deno.writeFile(join(folder, `${at}.png`), picture);
        await Deno.writeTextFile(join(folder, `${at}.txt`), caption);
      }
      const entries = Array.from({ length: count }, (_, at) => [`${at}.png`, { tags: caption }]);
      await Deno.writeTextFile(metadataFile, JSON.stringify(Object.fromEntries(entries)));
      const before = cpuUsage();
      for (
        const options of [{ trainDataDir: join(root, "train") }, { subsets: [{ metadataFile, imageDir: folder }] }]
      ) {
        const { source } = await read({ resolution: 64, shuffleCaption: true, ...options });
        const batches = new Dataset([source], { name: "network 1", seed: 1 }).epoch(0);
        equal(batches.flatMap(({ samples }) => samples).length, source.subsets[0].settings.numRepeats * count);
      }
      const { user, system } = cpuUsage(before);
      return (user + system) / 1000;
    };
    await cpuMilliseconds(0, 100);
    const few = await cpuMilliseconds(100, 250), many = await cpuMilliseconds(250, 2000);
    // Eight times the pictures: 64 times the time if each were compared with each.
    ok(many < 24 * few, `250 pictures took ${few} ms, 2,000 took ${many} ms`);
    // 20 seconds are promised for 100,000 captions.
    ok(
      many < 2 * 2000 * 0.2,
      `2,000 pictures with files of captions, and as many entries of metadata, took ${many} ms`,
    );
  });
});

Deno.test("readDataset() tells where faces are to be cut around and no file's name has one", async () => {
  await withPictures(async (root) => {
    const subsets = ["1_cat", "3_sks dog"].map((name) => ({ imageDir: join(root, "train", name), classTokens: name }));
    await draw(join(root, "train/1_cat/b_10_20_30_30.png"), 64, 64);
    const { warnings } = await read({ resolution: 64, faceCropAugRange: [1, 2], subsets });
    deepEqual(warnings, [
      `${
        subsets[1].imageDir
      }: no file's name ends in _<x>_<y>_<width>_<height> of a face: faceCropAugRange decides nothing there`,
    ]);
  });
});
