import type { DatasetDescription } from "../../data/describe_dataset.ts";
import { durationText, sizeText } from "../../pipeline/mod.ts";

/** How long a run is, and what it takes. */
export interface RunLength {
  readonly stepsPerEpoch: number;
  readonly epochs: number;
  readonly totalSteps: number;
  /** Batches that are gathered into a step; 1 when left out. */
  readonly accumulationSteps?: number;
  /** Most bytes on the GPU at one time. */
  readonly peakGpuBytes?: number;
  /** Most bytes that are written to the disk. */
  readonly diskBytes?: number;
  /** What it takes, by steps that were measured before; null where they were not. */
  readonly time?: { readonly seconds: number; readonly adapters: readonly string[] } | null;
}

/** A line of the table: what it is, and its value for each network, or one for the run. */
export interface RunTableRow {
  readonly label: string;
  readonly values: readonly string[];
}

const count = (number: number) => number.toLocaleString("en-US");
const plural = (number: number, one: string, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Pictures with equal repeats together: `12 × 10 + 4 × 2 = 128`. */
function repeatsText({ parts, trainImages, trainSamples }: DatasetDescription): string {
  const byRepeats = new Map<number, number>();
  for (const { images, settings } of parts.flatMap(({ subsets }) => subsets)) {
    if (!settings.isReg) byRepeats.set(settings.numRepeats, (byRepeats.get(settings.numRepeats) ?? 0) + images);
  }
  const [[repeats]] = byRepeats;
  if (byRepeats.size === 1) {
    const times = plural(repeats, "repeat");
    return `${plural(trainImages, "picture")} × ${times} = ${count(trainSamples)} shown`;
  }
  return `${plural(trainImages, "picture")} × ${[...byRepeats.keys()].map(count).join(" or ")} repeats = ${
    count(trainSamples)
  } shown`;
}

function regularizationText(description: DatasetDescription): string {
  const { regularizationImages: images, regularizationSamples: samples, regularizationUnused } = description;
  if (images === 0) return "none";
  const unused = regularizationUnused === 0 ? "" : `, ${count(regularizationUnused)} of them never`;
  return `${plural(images, "picture")}, ${count(samples)} shown${unused}`;
}

function sizesText({ parts }: DatasetDescription): string {
  const buckets = parts.flatMap(({ buckets }) => buckets);
  if (buckets.length === 1) return `${buckets[0].width}×${buckets[0].height} pixels`;
  const most = buckets.toSorted((a, b) => b.samples - a.samples).slice(0, 3);
  const rest = buckets.length - most.length,
    samples = most.map(({ width, height, samples }) => {
      return `${width}×${height} (${count(samples)} shown)`;
    });
  return `${buckets.length} sizes: ${samples.join(", ")}${rest > 0 ? `, ${rest} more` : ""}`;
}

function batchText({ parts, batchesPerEpoch }: DatasetDescription): string {
  const sizes = [...new Set(parts.map(({ settings: { batchSize } }) => batchSize))];
  return `${plural(batchesPerEpoch, "batch", "batches")} of ${sizes.join(" or ")}`;
}

/** How often an epoch runs through one network's batches: the shorter network's come again. */
function timesText({ batchesPerEpoch }: DatasetDescription, longest: number): string {
  const times = longest / batchesPerEpoch;
  return times === 1
    ? "each once"
    : `each ${Number.isInteger(times) ? times : times.toFixed(1)} times, so that both last`;
}

/**
 * What a run will do, row by row: pictures, sizes, batches, and in plain words what a step and an epoch are.
 *
 * @param datasets Network 1's figures, or both networks'.
 */
export function runTable(datasets: readonly DatasetDescription[], length: RunLength): RunTableRow[] {
  const { stepsPerEpoch, epochs, totalSteps, accumulationSteps = 1, peakGpuBytes, diskBytes, time } = length;
  const longest = Math.max(...datasets.map(({ batchesPerEpoch }) => batchesPerEpoch)), isPair = datasets.length > 1;
  const each = (label: string, text: (of: DatasetDescription) => string) => ({ label, values: datasets.map(text) });
  const one = (label: string, text: string) => ({ label, values: [text] });
  const gathered = accumulationSteps === 1
    ? isPair ? "one batch of each network" : "one batch"
    : `${accumulationSteps} batches${isPair ? " of each network" : ""}, gathered`;
  const whole = Math.floor(totalSteps / stepsPerEpoch), left = totalSteps - whole * stepsPerEpoch;
  const last = left === 0 ? "" : `, the last one cut off after ${count(left)} of its ${plural(stepsPerEpoch, "step")}`;
  return [
    each("training pictures in an epoch", repeatsText),
    each("regularization pictures", regularizationText),
    ...datasets.some(({ heldOutImages }) => heldOutImages > 0)
      ? [each("held out for validation", ({ heldOutImages }) => plural(heldOutImages, "picture"))]
      : [],
    each("sizes", sizesText),
    each("batches in an epoch", batchText),
    ...isPair ? [each("shown in an epoch", (of) => timesText(of, longest))] : [],
    one("a step", `${gathered}, then the weights change once`),
    one(
      "an epoch",
      `${plural(stepsPerEpoch, "step")}: ${plural(longest, "batch", "batches")}${
        accumulationSteps === 1 ? "" : ` / ${accumulationSteps}${longest % accumulationSteps ? ", rounded up" : ""}`
      }${isPair ? ", those of the longer data set" : ""}`,
    ),
    one("the run", `${plural(totalSteps, "step")} = ${plural(epochs, "epoch")}${last}`),
    ...peakGpuBytes === undefined ? [] : [one("memory", `${sizeText(peakGpuBytes)} on the GPU at most`)],
    ...diskBytes === undefined ? [] : [one("disk", `${sizeText(diskBytes)} written at most`)],
    ...time === undefined ? [] : [one("time", timeText(time, totalSteps))],
  ];
}

function timeText(time: NonNullable<RunLength["time"]> | null, totalSteps: number): string {
  if (time === null) return "known after the first steps: such steps were not measured on this machine yet";
  const { seconds, adapters } = time;
  return `about ${durationText(seconds)}, ${(seconds / totalSteps).toPrecision(2)} s a step, as measured before on ${
    adapters.join(" and ")
  }`;
}

/**
 * The table as lines of text, in columns; a value for the whole run takes the room of both.
 *
 * @param names Headings of the columns; one alone has none.
 */
export function runTableLines(rows: readonly RunTableRow[], names: readonly string[]): string[] {
  const labels = Math.max(...rows.map(({ label }) => label.length)) + 2;
  const apart = rows.filter(({ values }) => values.length === names.length);
  const widths = names.map((_, at) => Math.max(...apart.map(({ values }) => values[at].length)) + 2);
  const write = (label: string, values: readonly string[]) =>
    (label.padEnd(labels) + values.map((text, at) => text.padEnd(widths[at])).join("")).trimEnd();
  return [...names.length > 1 ? [write("", names)] : [], ...rows.map(({ label, values }) => write(label, values))];
}
