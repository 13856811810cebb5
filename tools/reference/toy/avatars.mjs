/**
 * Captioned avatars for the small base model and its demonstration: DiceBear "Pixel Art" (CC0 1.0), 16 x 16 pixels, drawn eight times larger.
 *
 *   node avatars.mjs corpus COUNT FILE   FILE.rgb (COUNT x 16 x 16 x 3 bytes) and FILE.json (captions): what the base was trained on
 *   node avatars.mjs demo FOLDER         the demonstration's folders of PNG + TXT, and regions.json
 *
 * Needs npm's @dicebear/core 9.4.3, @dicebear/pixel-art 9.4.3, sharp. Every avatar is a function of its number alone.
 */
import { createAvatar } from "@dicebear/core";
import * as pixelArt from "@dicebear/pixel-art";
import fs from "node:fs";
import path from "node:path";
import sharp from "sharp";

const CELL = 8; // image pixels per avatar pixel, and per latent cell
const variants = (part) => [...pixelArt.schema.properties[part].items.enum].sort();

/** Never shown to the base, so that a LoRA has something to learn. */
const HELD_OUT = {
  hair: ["long05", "long13", "short09", "short17"],
  clothing: ["variant05", "variant11", "variant18", "variant22"],
};

const HAIR = {
  black: ["28150a"],
  brown: ["603a14", "603015", "611c17", "612616"],
  blonde: ["cab188", "a78961"],
  "light brown": ["83623b"],
  blue: ["009bbd"],
  red: ["bd1700"],
  green: ["91cb15"],
};
const SKIN = {
  pale: ["ffdbac", "f5cfa0"],
  fair: ["eac393", "e0b687"],
  tan: ["cb9e6e", "b68655"],
  dark: ["a26d3d", "8d5524"],
};
const CLOTHES = {
  "light blue": ["5bc0de"],
  blue: ["428bca"],
  navy: ["03396c"],
  mint: ["88d8b0"],
  green: ["44c585", "00b159"],
  coral: ["ff6f69"],
  red: ["d11141"],
  "dark red": ["ae0001"],
  cream: ["ffeead"],
  yellow: ["ffd969", "ffc425"],
};
const EYES = { grey: ["76778b", "697b94"], blue: ["647b90", "5b7c8b"], green: ["588387"], brown: ["876658"] };
const BACKGROUND = {
  white: ["ffffff"],
  grey: ["c8c8c8"],
  beige: ["f2e3cf"],
  "sky blue": ["b9dcf2"],
  pink: ["f4c6d4"],
  lavender: ["d9ccf0"],
  "pale green": ["cfe8cf"],
  black: ["202024"],
};

/** The demonstration's two concepts: shapes and colours that the base has never seen. */
const CHARACTER = {
  hair: "long13",
  hairColor: ["white", "e6eef0"],
  skinColor: ["pale", "ffdbac"],
  eyes: "variant05",
  eyesColor: ["green", "2fae5a"],
  mouth: "happy05",
  glasses: null,
  hat: null,
  beard: null,
};
const OUTFIT = { clothing: "variant11", clothingColor: ["purple", "7b3fa0"] };

/** Numbers in [0, 1): a counter through murmur3's finalizer. */
function random(seed) {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x9e3779b9) >>> 0;
    let x = s;
    x ^= x >>> 16;
    x = Math.imul(x, 0x85ebca6b) >>> 0;
    x ^= x >>> 13;
    x = Math.imul(x, 0xc2b2ae35) >>> 0;
    x ^= x >>> 16;
    return (x >>> 8) / 16777216;
  };
}

/** Avatar number `seed`; `fixed` overrides what is drawn. */
function draw(seed, fixed = {}) {
  const next = random(seed);
  const pick = (list) => list[Math.floor(next() * list.length)];
  const named = (colours) => {
    const name = pick(Object.keys(colours));
    return [name, pick(colours[name])];
  };
  const avatar = {
    hair: pick(variants("hair").filter((v) => !HELD_OUT.hair.includes(v))),
    clothing: pick(variants("clothing").filter((v) => !HELD_OUT.clothing.includes(v))),
    hairColor: named(HAIR),
    skinColor: named(SKIN),
    clothingColor: named(CLOTHES),
    eyesColor: named(EYES),
    backgroundColor: named(BACKGROUND),
    eyes: pick(variants("eyes")),
    mouth: pick(variants("mouth")),
    glasses: next() < 0.2 ? pick(variants("glasses")) : null,
    hat: next() < 0.06 ? pick(variants("hat")) : null,
    beard: next() < 0.05 ? pick(variants("beard")) : null,
  };
  return { ...avatar, ...fixed };
}

function svg(a) {
  const maybe = (part, colour) => ({
    [`${part}Probability`]: a[part] ? 100 : 0,
    ...(a[part] ? { [part]: [a[part]], ...colour } : {}),
  });
  return createAvatar(pixelArt, {
    seed: "x",
    accessoriesProbability: 0,
    hair: [a.hair],
    hairColor: [a.hairColor[1]],
    clothing: [a.clothing],
    clothingColor: [a.clothingColor[1]],
    skinColor: [a.skinColor[1]],
    eyes: [a.eyes],
    eyesColor: [a.eyesColor[1]],
    mouth: [a.mouth],
    mouthColor: ["c98276"],
    backgroundColor: [a.backgroundColor[1]],
    ...maybe("glasses", { glassesColor: ["323232"] }),
    ...maybe("hat", { hatColor: ["2663a3"] }),
    ...maybe("beard", {}),
  }).toString();
}

/** 16 x 16 x 3 bytes, RGB. */
const pixels = (a) => sharp(Buffer.from(svg(a))).resize(16, 16, { kernel: "nearest" }).removeAlpha().raw().toBuffer();

const extras = (
  a,
) => [...(a.glasses ? ["glasses"] : []), ...(a.hat ? ["blue hat"] : []), ...(a.beard ? ["beard"] : [])];
const looks = (
  a,
) => [
  `${a.hair.startsWith("long") ? "long" : "short"} ${a.hairColor[0]} hair`,
  `${a.skinColor[0]} skin`,
  `${a.eyesColor[0]} eyes`,
  `${a.mouth.startsWith("happy") ? "happy" : "sad"} mouth`,
];
const caption = (a) =>
  [
    "pixel art portrait of a person",
    ...looks(a),
    `${a.clothingColor[0]} clothes`,
    ...extras(a),
    `${a.backgroundColor[0]} background`,
  ].join(", ");

async function write(folder, index, avatar, text) {
  fs.mkdirSync(folder, { recursive: true });
  const name = path.join(folder, String(index).padStart(3, "0"));
  await sharp(await pixels(avatar), { raw: { width: 16, height: 16, channels: 3 } }).resize(16 * CELL, 16 * CELL, {
    kernel: "nearest",
  }).png().toFile(`${name}.png`);
  fs.writeFileSync(`${name}.txt`, text + "\n");
}

async function corpus(count, file) {
  const out = Buffer.alloc(count * 768);
  const captions = [];
  for (let i = 0; i < count; i++) {
    const a = draw(1000 + i);
    (await pixels(a)).copy(out, i * 768);
    captions.push(caption(a));
  }
  fs.writeFileSync(`${file}.rgb`, out);
  fs.writeFileSync(`${file}.json`, JSON.stringify(captions));
}

/** Cells that a part alone decides: those that keep one colour over 64 avatars which differ in all else. */
async function region(fixed) {
  const others = await Promise.all(
    Array.from({ length: 64 }, (_, i) => pixels(draw(500000 + i, { glasses: null, hat: null, beard: null, ...fixed }))),
  );
  const cells = [];
  for (let c = 0; c < 256; c++) {
    const rgb = [...others[0].subarray(c * 3, c * 3 + 3)];
    if (others.every((o) => rgb.every((v, k) => o[c * 3 + k] === v))) cells.push({ row: c >> 4, column: c & 15, rgb });
  }
  return cells;
}

async function demo(folder) {
  for (let i = 0; i < 12; i++) {
    const c = draw(900000 + i, CHARACTER);
    await write(
      path.join(folder, "character", "10_sks person"),
      i,
      c,
      `pixel art portrait of sks person, ${c.clothingColor[0]} clothes, ${c.backgroundColor[0]} background`,
    );
    const o = draw(910000 + i, { ...OUTFIT, glasses: null, hat: null, beard: null });
    // Captions of every length, so that the outfit is not bound to a place in the prompt.
    const named = looks(o).slice(0, [4, 2, 0][i % 3]);
    await write(
      path.join(folder, "outfit", "10_zkz clothes"),
      i,
      o,
      ["pixel art portrait of a person", ...named, "zkz clothes", `${o.backgroundColor[0]} background`].join(", "),
    );
  }
  for (let i = 0; i < 48; i++) {
    const p = draw(920000 + i, { hat: null, beard: null });
    await write(path.join(folder, "regularization", "1_person"), i, p, caption(p));
  }
  const [character, outfit] = [await region(CHARACTER), await region(OUTFIT)];
  fs.writeFileSync(path.join(folder, "regions.json"), JSON.stringify({ character, outfit }, null, 1) + "\n");
  console.log(`character ${character.length} cells, outfit ${outfit.length} cells`);
}

const [command, ...args] = process.argv.slice(2);
if (command === "corpus") await corpus(Number(args[0]), args[1]);
else if (command === "demo") await demo(args[0]);
else throw new Error("usage: node avatars.mjs corpus COUNT FILE | demo FOLDER");
