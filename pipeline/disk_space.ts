import { type FreeSpace, freeSpace } from "../formats/free_space.ts";
import { InputError } from "./step.ts";
import { sizeText } from "./text.ts";

/** What a step will write to the disk, beside what lies there already. */
export interface DiskUse {
  /** Such as `4 states`. */
  readonly what: string;
  /** Folder that it is written into; the run's own when left out. */
  readonly folder?: string;
  /** Most bytes that it takes at one time. */
  readonly sizeBytes: number;
  /** What a user can do for less, such as `--save_state`; nothing when left out. */
  readonly less?: string;
}

/** A run that would not find room on the disk. */
export class DiskSpaceError extends InputError {
  override name = "DiskSpaceError";
}

/**
 * Sees to it that all that a run will write finds room, file system by file system.
 *
 * @param runFolder Where that goes which names no folder.
 * @param space Looks up the free space of a folder.
 * @throws {DiskSpaceError} Naming the bytes that are needed and that are free, and what takes them.
 */
export async function checkDiskSpace(
  uses: readonly DiskUse[],
  runFolder: string,
  space: (folder: string) => Promise<FreeSpace | null> = freeSpace,
): Promise<void> {
  const systems = new Map<number, { freeBytes: number; uses: (DiskUse & { folder: string })[] }>();
  for (const use of uses) {
    const folder = use.folder ?? runFolder, found = await space(folder);
    // Where it is not known, nothing is refused.
    if (found === null) continue;
    const system = systems.get(found.device) ?? { freeBytes: found.freeBytes, uses: [] };
    system.uses.push({ ...use, folder });
    systems.set(found.device, system);
  }
  for (const { freeBytes, uses } of systems.values()) {
    const needed = uses.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    if (needed <= freeBytes) continue;
    const most = uses.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
    throw new DiskSpaceError(
      `Not enough room on the disk of ${most[0].folder}: the run writes up to ${sizeText(needed)} (${needed} bytes), ` +
        `${sizeText(freeBytes)} (${freeBytes} bytes) are free. It writes\n` +
        most.map(({ what, folder, sizeBytes, less }) =>
          `  ${sizeText(sizeBytes)}: ${what}, in ${folder}${less === undefined ? "" : `; less with ${less}`}\n`
        ).join("") +
        "Free some space, or let it write less",
    );
  }
}
