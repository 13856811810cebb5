import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import * as d from "../../mod.ts";
import { inNewFolder } from "./small_training.ts";

/** Bytes of all pictures embedded in a page, decoded. */
async function embedded(html: string) {
  const pictures = html.matchAll(/src="data:image\/png;base64,([^"]+)"/g);
  return await Promise.all([...pictures].map(async ([, base64]) => {
    const { data, info } = await sharp(Uint8Array.fromBase64(base64)).raw().toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, at: (x: number, y: number) => data[(y * info.width + x) * 3] };
  }));
}

Deno.test("debugDataset() shows cuts, captions and tokens as a picture and as a page that holds everything", () =>
  inNewFolder(async (folder) => {
    const imageDir = join(folder, "one"), second = join(folder, "two");
    for (const [at, each] of [imageDir, second].entries()) {
      await mkdir(each);
      const pixels = Uint8Array.from({ length: 200 * 100 * 3 }, (_, i) => (i / 3) % 200 < 100 ? 255 : 0);
      await writeFile(
        join(each, "half.png"),
        await sharp(pixels, { raw: { width: 200, height: 100, channels: 3 } }).png().toBuffer(),
      );
      // The small vocabulary has no digits; a long run of words is longer than 75 tokens in any.
      await writeFile(join(each, "half.txt"), at === 0 ? "a <b>red</b> & person" : Array(90).fill("red").join(" "));
    }
    const recipe = d.pipeline("look")
      .use(d.readDatasets({
        network1: [{ resolution: 64, subsets: [{ imageDir }] }],
        network2: [{
          resolution: 64,
          subsets: [{ imageDir: second, numRepeats: 60, captionDropoutRate: 0.5, flipAug: true }],
        }],
      }))
      .use(d.debugDataset({ folder, base: "toy", samples: 20 }));
    await recipe.run({ folder: join(folder, "run") });
    const html = await readFile(join(folder, "dataset.html"), "utf8");
    const first = html.slice(html.indexOf("<h2>network 1</h2>"), html.indexOf("<h2>network 2</h2>"));
    ok(first.includes("<p>a &lt;b&gt;red&lt;/b&gt; &amp; person</p>") && !html.includes("<b>red"));
    ok(first.includes('<p class="soft">64×64 · cut from 128×64 at 32, 0</p>'), first);
    ok(first.includes("left:32px;top:0px;width:64px;height:64px"));
    const [whole, shown] = await embedded(first);
    deepEqual([whole.width, whole.height, shown.width, shown.height], [128, 64, 64, 64]);
    deepEqual([whole.at(60, 9), whole.at(67, 9), shown.at(28, 9), shown.at(35, 9)], [255, 0, 255, 0]);

    const other = html.slice(html.indexOf("<h2>network 2</h2>"));
    ok(other.includes("Epoch 1: 60 samples in 60 batches, the first 20 are shown."));
    ok(other.includes("Sizes: 64×64: 60 samples in 60 batches."));
    equal(other.match(/<li>/g)?.length, 20);
    const empty = other.match(/\(empty caption\)/g)!.length, mirrored = other.match(/mirrored/g)!.length;
    equal(other.match(/>0 of 75 tokens</g)!.length, empty);
    // 20 draws of one in two: 10 with a deviation of 2.2.
    ok(empty > 1 && empty < 19 && mirrored > 1 && mirrored < 19, `${empty} empty, ${mirrored} mirrored`);
    const [, tokens, cut] = /class="soft mark">(\d+) of 75 tokens: the last (\d+) are cut off/.exec(other)!;
    ok(Number(tokens) >= 90 && Number(tokens) - Number(cut) === 75);
    // Half of the tiles without mirroring have the white half on the left.
    const pictures = (await embedded(other)).filter((_, at) => at % 2 === 1);
    equal(pictures.filter((picture) => picture.at(5, 5) === 0).length, mirrored);

    const { data, info } = await sharp(join(folder, "dataset.png")).raw().toBuffer({ resolveWithObject: true });
    // Four tiles of 2 · 144 + 8 pixels, 20 between them, 24 around.
    equal(info.width, 4 * 296 + 3 * 20 + 2 * 24);
    const framed = data.reduce((count, red, at) => {
      return at % 3 === 0 && red === 0xd6 && data[at + 1] === 0 && data[at + 2] === 0x6c ? count + 1 : count;
    }, 0);
    // 21 frames around 64 × 64 pixels, two wide, two of their sides 60 long beside the others.
    ok(framed >= 21 * 2 * (2 * 64 + 2 * 60), `${framed} pixels of frames`);
    match((await recipe.describe()).steps[1].lines.join(), /dataset\.png,.*dataset\.html$/);
  }));

Deno.test("debugDataset() refuses options that cannot be meant", () => {
  throws(() => d.debugDataset({ folder: "" }), /^TypeError: Cannot show the data: folder must be a path/);
  throws(() => d.debugDataset({ folder: "a", epoch: 0 }), /epoch is 0, must be a whole number above 0/);
  throws(() => d.debugDataset({ folder: "a", sample: 3 } as never), /unknown option sample; did you mean samples\?/);
});
