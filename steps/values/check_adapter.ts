import { adapterLimits, checkLimits, type Program } from "../../engine/mod.ts";

/**
 * Checks that the machine's adapter can hold and bind what programs need; nothing is put on it.
 *
 * @throws {RangeError} If a tensor is too large, see `checkLimits`.
 * @throws {NoAdapterError} If there is no adapter.
 */
export async function checkOnAdapter(programs: readonly Program[]): Promise<void> {
  const limits = await adapterLimits();
  for (const program of programs) checkLimits(program, limits);
}
