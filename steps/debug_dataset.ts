import { join } from "node:path";
import { makeFolder } from "../formats/write_errors.ts";
import { writeFileAtomically } from "../formats/atomic_file.ts";
import { clipTokenizer } from "../models/clip/clip_vocabulary.ts";
import { defineStep } from "../pipeline/mod.ts";
import { drawContactSheet } from "./report/contact_sheet.ts";
import { contactSheetHtml } from "./report/contact_sheet_html.ts";
import { data } from "./things.ts";
import { openBases, openTokenizer } from "./values/bases.ts";
import { checkOptions } from "./values/check_options.ts";
import { contactSection } from "./values/contact_tiles.ts";
import { eachNetwork } from "./values/training_data.ts";

/** Options of `debugDataset`. */
export interface DebugDatasetOptions {
  /** Receives `dataset.png` and `dataset.html`. */
  readonly folder: string;
  /** Base model whose tokenizer counts tokens: a folder, a file, or `toy`; CLIP's own when left out. */
  readonly base?: string;
  /** Tokens that a prompt may take (`--max_token_length`): 75, 150 or 225; 75 when left out. */
  readonly maxTokenLength?: 75 | 150 | 225;
  /** Whether brackets in captions are weights (`--weighted_captions`), and no tokens. */
  readonly weightedCaptions?: boolean;
  /** Epoch that is shown, counted from 1; 1 when left out. */
  readonly epoch?: number;
  /** Most samples of each network; 48 when left out. */
  readonly samples?: number;
}

/** Longest side of a small picture, in pixels. */
const boxSide = 144;

/**
 * Shows what an epoch trains on, and trains nothing (`--debug_dataset`): a sheet of samples as a picture and as a page, with
 * captions after shuffling and dropout, sizes, cuts, and tokens.
 */
export function debugDataset(options: DebugDatasetOptions) {
  const name = "debug dataset",
    known = {
      folder: true,
      base: true,
      maxTokenLength: true,
      weightedCaptions: true,
      epoch: true,
      samples: true,
    } as const;
  checkOptions<DebugDatasetOptions>(name, options, known);
  const { folder, base, maxTokenLength = 75, weightedCaptions = false, epoch = 1, samples = 48 } = options;
  if (typeof folder !== "string" || folder === "") throw new TypeError("Cannot show the data: folder must be a path");
  for (const [option, value] of Object.entries({ epoch, samples })) {
    if (Number.isInteger(value) && value > 0) continue;
    throw new RangeError(`Cannot show the data: ${option} is ${value}, must be a whole number above 0`);
  }
  const files = ["dataset.png", "dataset.html"].map((file) => join(folder, file));
  return defineStep({
    name,
    version: 1,
    options,
    needs: { data },
    plan: () => ({ lines: files }),
    run: async ({ data }, run) => {
      const tokenizer = base === undefined
        ? await clipTokenizer()
        : await openTokenizer((await openBases({ network1: base }, {})).network1);
      const sections = [];
      for (const [, each] of eachNetwork(data)) {
        sections.push(
          await contactSection(
            each,
            tokenizer,
            { epoch: epoch - 1, samples, boxSide, maxTokenLength, weightedCaptions },
            (done, total) => {
              run.signal.throwIfAborted();
              run.progress({ done, total, unit: "pictures", message: each.context.name });
            },
          ),
        );
      }
      const title = "What is trained on", [png, html] = files;
      await makeFolder(folder);
      await writeFileAtomically(png, [await drawContactSheet(title, sections, boxSide)]);
      await writeFileAtomically(html, [new TextEncoder().encode(await contactSheetHtml(title, sections))]);
      for (const file of files) run.artifact(file);
      return {};
    },
  });
}
