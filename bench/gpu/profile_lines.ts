import type { Line, LineKey } from "../line.ts";
import type { ProfileRow, ProgramProfile } from "../profile/profile.ts";

/** Sizes of ops that are told: the longest. */
const mostSizes = 60;

/**
 * A profile as lines: the run as a whole, then its ops, and these by sizes, longest first.
 *
 * @param options.timestamps Whether its times were measured; without, only what the host did is known.
 */
export function profileLines(
  { shape, dtype }: LineKey,
  profile: ProgramProfile,
  { timestamps }: { timestamps: boolean },
): Line[] {
  const start = { peer: "dualora", op: "profile", shape, dtype: dtype ?? "f32" };
  const { milliseconds, hostMilliseconds, dispatches, bytesMoved, byOp, bySize } = profile;
  const whole = {
    ...{ ...start, by: "step", device_ms: timestamps ? milliseconds : null, host_ms: hostMilliseconds },
    ...{ dispatches, moved_bytes: bytesMoved },
  };
  if (!timestamps) return [whole];
  const rows = (by: "op" | "size", all: readonly ProfileRow[]) =>
    all.map(({ name, steps, milliseconds: ms, gflops, gigabytes, share }) => ({
      ...{ ...start, by, row: name, steps, device_ms: ms, gflops, gigabytes, share },
    }));
  return [whole, ...rows("op", byOp), ...rows("size", bySize.slice(0, mostSizes))];
}
