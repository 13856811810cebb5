import type { LogOptions } from "../../steps/outputs/logs.ts";
import type { FlagValues } from "../flags/table.ts";
import { UsageError } from "../usage_error.ts";
import { changed } from "./changed.ts";

/**
 * Where figures are logged; undefined for nowhere.
 *
 * @throws {UsageError} If they should be sent elsewhere, or have no folder to be written to.
 */
export function logOptions(values: FlagValues, isPair: boolean): LogOptions | undefined {
  const { logging_dir, log_with } = values;
  if (log_with === "wandb" || log_with === "all") {
    throw new UsageError(
      `--log_with=${log_with} is refused: nothing here is sent over the network; use tensorboard, whose files wandb can ` +
        "import",
    );
  }
  if (!logging_dir) {
    if (log_with !== null) throw new UsageError("--log_with=tensorboard needs --logging_dir, the folder of the logs");
    return undefined;
  }
  return {
    folder: logging_dir,
    ...changed({
      prefix: [values.log_prefix, null],
      name: [values.log_tracker_name, null],
      folder2: [isPair ? values.logging_dir_2 : null, null],
      prefix2: [isPair ? values.log_prefix_2 : null, null],
    }),
  };
}
