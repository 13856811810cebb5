import { closeSync, openSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";

/** Fills a file system but for some bytes with a file `filler`; gives back its path. */
export function fill(disk: string, left: number): string {
  const filler = join(disk, "filler"), file = openSync(filler, "a"), most = 2 ** 20;
  try {
    for (;;) {
      const { bavail, bsize } = statfsSync(disk), more = Math.min(most, bavail * bsize - left);
      if (more <= 0) return filler;
      writeSync(file, new Uint8Array(more));
    }
  } finally {
    closeSync(file);
  }
}
