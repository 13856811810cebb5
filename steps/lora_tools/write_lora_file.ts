import { type LoraFileModule, type SavePrecision, writeLora, writeTorchLora } from "../../formats/lora_file.ts";
import { isTorchFile } from "./output.ts";

/** Metadata that say what base a LoRA is for: kept by every tool. */
const kept = ["ss_v2", "ss_base_model_version"];

/**
 * Writes what a tool has made of modules: as safetensors with the least metadata that readers want, or by its ending as PyTorch's file.
 *
 * @param from Metadata of the files it was made of; of each key the first counts.
 */
export async function writeLoraFile(
  path: string,
  modules: readonly LoraFileModule[],
  options: { readonly precision: SavePrecision; readonly from?: readonly ReadonlyMap<string, string>[] },
): Promise<void> {
  const { precision, from = [] } = options;
  if (isTorchFile(path)) return await writeTorchLora(path, modules, { precision });
  const metadata = new Map<string, string>();
  for (const key of kept) {
    const found = from.map((each) => each.get(key)).find((value) => value !== undefined);
    if (found !== undefined) metadata.set(key, found);
  }
  const common = (values: number[], text: (value: number) => string) =>
    new Set(values).size === 1 ? text(values[0]) : "Dynamic";
  metadata.set("ss_network_module", "networks.lora");
  metadata.set("ss_network_dim", common(modules.map(({ down }) => down.shape[0]), String));
  metadata.set(
    "ss_network_alpha",
    // As Python writes a float.
    common(modules.map(({ alpha }) => alpha), (alpha) => Number.isInteger(alpha) ? `${alpha}.0` : String(alpha)),
  );
  await writeLora(path, modules, { metadata, precision });
}
