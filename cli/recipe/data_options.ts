import type { DreamboothFolders, ReadDreamboothOptions } from "../../steps/read_dreambooth.ts";
import type { FlagValues } from "../flags/table.ts";
import { pythonInt } from "../settings/python_numbers.ts";
import { UsageError } from "../usage_error.ts";
import { type NetworkSettings, settingsOf } from "./network_settings.ts";

/** Options of `readDreambooth`. */
export function dreamboothOptions(values: FlagValues, isPair: boolean): ReadDreamboothOptions {
  const { train_data_dir: train, caption_extension, caption_extention, seed } = values;
  if (!train) {
    throw new UsageError("--train_data_dir is missing: a folder of folders <repeats>_<class> with pictures");
  }
  const extension = caption_extention || caption_extension;
  const second = isPair ? settingsOf(values, 2) : null;
  const first = settingsOf(values, 1), resolution = resolutionOf(first), batchSize = first.train_batch_size;
  const resolution2 = second && resolutionOf(second), batchSize2 = second?.train_batch_size;
  return {
    network1: foldersOf(train, values.reg_data_dir),
    ...(isPair ? { network2: foldersOf(values.train_data_dir_2!, values.reg_data_dir_2) } : {}),
    resolution,
    ...(resolution2 && String(resolution2) !== String(resolution) ? { resolution2 } : {}),
    batchSize,
    ...(batchSize2 !== undefined && batchSize2 !== batchSize ? { batchSize2 } : {}),
    // The step looks for .caption by itself, and for .txt where there is none.
    ...(extension === ".caption" ? {} : { captionExtension: extension }),
    ...(values.prior_loss_weight === 1 ? {} : { priorLossWeight: values.prior_loss_weight }),
    ...(values.flip_aug ? { flipAugmentation: true } : {}),
    ...(seed === null ? {} : { seed }),
  };
}

function foldersOf(train: string, reg: string | null): DreamboothFolders {
  return { train, ...(reg ? { reg } : {}) };
}

/** `512` or `512,768`: width, then height. */
function resolutionOf({ resolution }: NetworkSettings): number | [number, number] {
  if (!resolution) throw new UsageError("--resolution is missing: a size in pixels, such as 512 or 512,768");
  const sides = resolution.split(",").map(pythonInt);
  const [width, height] = sides;
  if (width === undefined || sides.length > 2 || sides.includes(undefined)) {
    throw new UsageError(
      `--resolution is ${
        JSON.stringify(resolution)
      }, must be one size in pixels or width,height, such as 512 or 512,768`,
    );
  }
  return height === undefined || height === width ? width : [width, height];
}
