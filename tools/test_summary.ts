/**
 * Reads how many tests passed and failed from what `deno test` printed.
 *
 * @param output All that it printed, colours or not.
 * @param success Whether its exit code was 0. A run that failed without a failed test (a file that does not compile, a crash)
 * counts as one failure.
 */
export function countTests(output: string, success: boolean): { passed: number; failed: number } {
  // deno-lint-ignore no-control-regex
  const plain = output.replace(/\x1b\[[\d;]*m/g, "");
  const summary = [...plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed.*?\| (\d+) failed/gm)].at(-1);
  const passed = Number(summary?.[1] ?? 0);
  const failed = Number(summary?.[2] ?? 0);
  return { passed, failed: success ? failed : Math.max(failed, 1) };
}
