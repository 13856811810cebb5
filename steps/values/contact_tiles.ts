import type { Batch, Sample } from "../../data/dataset.ts";
import { describeDataset } from "../../data/describe_dataset.ts";
import { decodeImage, readImageBytes, type RgbImage } from "../../data/image.ts";
import { prepareImage } from "../../data/prepare_image.ts";
import { type ImageSize, resizeArea } from "../../data/resize.ts";
import { parseWeights } from "../../models/clip/weighted_prompt.ts";
import type { Tokenizer } from "../../models/clip/tokenizer.ts";
import type { ContactSection, ContactTile } from "../report/contact_sheet.ts";
import { datasetOf, type NetworkData } from "./training_data.ts";

/** What of a data set is shown. */
export interface ContactOptions {
  /** Epoch, counted from 0. */
  readonly epoch: number;
  /** Most samples to show. */
  readonly samples: number;
  /** Longest side of a small picture, in pixels. */
  readonly boxSide: number;
  /** Tokens a prompt may take. */
  readonly maxTokenLength: number;
  /** Whether brackets in captions are weights. */
  readonly weightedCaptions: boolean;
}

function changesText({ cut, isFlipped, colour }: Sample): string[] {
  const { scaled, left, top, size } = cut;
  const isCut = scaled.width > size.width || scaled.height > size.height;
  return [
    `${size.width}×${size.height}`,
    ...isCut ? [`cut from ${scaled.width}×${scaled.height} at ${left}, ${top}`] : [],
    ...isFlipped ? ["mirrored"] : [],
    ...colour === null
      ? []
      : ["hueDegrees" in colour ? `hue ${colour.hueDegrees.toFixed(0)}°` : `gamma ${colour.gamma.toFixed(2)}`],
  ];
}

/** A sample's picture and what is shown of it; of latents alone, grey. */
async function picturesOf(sample: Sample): Promise<{ whole: RgbImage; cut: RgbImage }> {
  const { image: { path, isLatents }, cut: { scaled, size } } = sample;
  if (isLatents) return { whole: grey(scaled), cut: grey(size) };
  const bytes = await readImageBytes(path);
  return { whole: await decodeImage(bytes, path), cut: await prepareImage(bytes, path, sample) };
}

function grey({ width, height }: ImageSize): RgbImage {
  return { width, height, pixels: new Uint8Array(width * height * 3).fill(128) };
}

async function tileOf(
  sample: Sample,
  place: string,
  tokenizer: Tokenizer,
  { boxSide, maxTokenLength, weightedCaptions }: ContactOptions,
): Promise<ContactTile> {
  const { image, caption, cut: { scaled, left, top, size } } = sample, { path, subset: { settings } } = image;
  const { whole, cut } = await picturesOf(sample),
    shrink = Math.min(1, boxSide / Math.max(scaled.width, scaled.height));
  const small = (side: number) => Math.max(1, Math.round(side * shrink));
  const shrunk = (picture: RgbImage, of: { width: number; height: number }) =>
    resizeArea(picture, { width: small(of.width), height: small(of.height) });
  const texts = weightedCaptions ? parseWeights(caption).map(({ text }) => text) : [caption];
  const tokens = texts.reduce((sum, text) => sum + tokenizer.encode(text).length - 2, 0),
    isTooLong = tokens > maxTokenLength;
  return {
    place,
    facts: [
      ...image.isLatents ? ["latents alone, without a picture"] : [],
      ...settings.isReg ? [`regularization, loss × ${image.lossWeight}`] : [],
      ...changesText(sample),
    ],
    caption,
    tokens: `${tokens} of ${maxTokenLength} tokens${
      isTooLong ? `: the last ${tokens - maxTokenLength} are cut off` : ""
    }`,
    isTooLong,
    path,
    whole: shrunk(whole, scaled),
    frame: {
      left: Math.round(left * shrink),
      top: Math.round(top * shrink),
      width: small(size.width),
      height: small(size.height),
    },
    shown: shrunk(cut, size),
  };
}

/** The first samples of an epoch, batch by batch, and the sizes of all of it. */
export async function contactSection(
  data: NetworkData,
  tokenizer: Tokenizer,
  options: ContactOptions,
  onTile: (done: number, total: number) => void,
): Promise<ContactSection> {
  const dataset = datasetOf(data),
    { parts, trainSamples, regularizationSamples, batchesPerEpoch } = describeDataset(dataset);
  const batches: Batch[] = dataset.epoch(options.epoch, { maxTrainSteps: batchesPerEpoch });
  const all = batches.flatMap(({ samples }, batch) => samples.map((sample) => ({ sample, batch })));
  const chosen = all.slice(0, options.samples), tiles: ContactTile[] = [];
  for (const [at, { sample, batch }] of chosen.entries()) {
    onTile(at, chosen.length);
    tiles.push(await tileOf(sample, `batch ${batch + 1} of ${batches.length}`, tokenizer, options));
  }
  const sizes = parts.flatMap(({ buckets }) => buckets).map(({ width, height, samples, batches }) => {
    return `${width}×${height}: ${samples} samples in ${batches} batches`;
  });
  return {
    title: dataset.name,
    notes: [
      `Epoch ${options.epoch + 1}: ${trainSamples + regularizationSamples} samples in ${batchesPerEpoch} batches` +
      `${chosen.length < all.length ? `, the first ${chosen.length} are shown` : ""}.`,
      `Sizes: ${sizes.join("; ")}.`,
    ],
    tiles,
  };
}
