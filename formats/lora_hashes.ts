import { createHash } from "node:crypto";
import { legacyHash } from "./lora_file.ts";
import type { SafetensorsFile } from "./safetensors.ts";
import { serializeHeader } from "./safetensors_writer.ts";

/** A hash in a LoRA file's metadata, and what its bytes give. */
export interface CheckedHash {
  readonly key: "sshs_model_hash" | "sshs_legacy_hash";
  /** null where the metadata have none. */
  readonly found: string | null;
  readonly computed: string;
}

/**
 * Computes the hashes of a LoRA file from its bytes, as sd-scripts does when it writes one: over the file as it would be with the `ss_`
 * metadata alone.
 *
 * The legacy hash depends on the header's length: files of safetensors before 0.3, which did not pad it, give another one.
 */
export async function checkLoraHashes(file: SafetensorsFile): Promise<CheckedHash[]> {
  const tensors = [...file.tensors.values()], hash = createHash("sha256"), bodies: Uint8Array<ArrayBuffer>[] = [];
  for (const { name } of tensors) {
    const bytes = await file.bytes(name);
    hash.update(bytes);
    bodies.push(bytes);
  }
  const metadata = file.metadata ?? new Map<string, string>();
  const forHash = new Map([...metadata].filter(([key]) => key.startsWith("ss_")));
  const header = serializeHeader(tensors.map((tensor, i) => ({ ...tensor, bytes: bodies[i] })), forHash);
  const checked = (key: CheckedHash["key"], computed: string) => ({ key, found: metadata.get(key) ?? null, computed });
  return [
    checked("sshs_model_hash", hash.digest("hex")),
    checked("sshs_legacy_hash", legacyHash([header, ...bodies])),
  ];
}
