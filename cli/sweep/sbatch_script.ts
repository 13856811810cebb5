import { basename, join, resolve } from "node:path";
import { shellQuoted, shellText } from "../shell_text.ts";
import { commandWords } from "./run_one.ts";
import type { SlurmOptions } from "./slurm_options.ts";

/** Seconds before the end of a job's time, or before it is preempted, at which its run is told to save its work. */
const noticeSeconds = 120;

/**
 * A batch script that runs each run as a task of a Slurm job array. A task that is told that its time is up hands that on to its run, which saves its work and
 * leaves with 75; then the task is queued again, and goes on.
 *
 * @param options.file The sweep's file, which the job is named after.
 * @param options.folder The sweep's.
 * @param options.names Of the runs, by the tasks' numbers. They stand in the script: Slurm keeps a copy, so a sweep that is changed later does not change what was submitted.
 * @param options.workingFolder Paths in settings are relative to it.
 * @see https://slurm.schedmd.com/sbatch.html
 */
export function sbatchScript(
  { options, limit, setup, restarts }: SlurmOptions,
  { file, folder, names, workingFolder }: {
    readonly file: string;
    readonly folder: string;
    readonly names: readonly string[];
    readonly workingFolder: string;
  },
): string {
  const output = `${resolve(workingFolder, folder).replaceAll("%", "%%")}/slurm/%A_%a.txt`;
  const all = new Map<string, string | number | true>([
    ["job-name", basename(file).replace(/\.toml$/, "").replaceAll(/["\s]/g, "-")],
    ["array", `0-${names.length - 1}${limit === undefined ? "" : `%${limit}`}`],
    ["signal", `B:USR2@${noticeSeconds}`],
    ["requeue", true],
    ["open-mode", "append"],
    ["output", output],
    ["chdir", workingFolder],
    ...options,
  ]);
  return [
    "#!/bin/bash",
    `# ${names.length} runs of ${basename(file)}: sbatch ${shellText([join(folder, "sweep.sbatch")])}`,
    ...[...all].map(([name, value]) => `#SBATCH --${name}${value === true ? "" : `=${optionText(value)}`}`),
    "",
    "runs=(",
    ...names.map((name) => `  ${shellQuoted(name)}`),
    ")",
    "",
    "# Slurm tells this shell alone that time is up, and may do so before the run has begun. With SIGTERM it takes the task off: whether it comes back is Slurm's to say.",
    "run_pid= told_early= is_taken_off=",
    'tell_run() { if [ -n "$run_pid" ]; then kill -s "$1" "$run_pid" 2>/dev/null; else told_early=$1; fi; }',
    "trap 'tell_run USR2' USR2",
    "trap 'is_taken_off=1; tell_run TERM' TERM",
    "",
    ...setup,
    "code=75",
    'if [ -z "$told_early" ]; then',
    `  ${shellText(commandWords("sweep", "run", folder))} "\${runs[$SLURM_ARRAY_TASK_ID]}" &`,
    "  run_pid=$!",
    "  # It was told just now, before the child had its number.",
    '  [ -z "$told_early" ] || kill -s "$told_early" "$run_pid" 2>/dev/null',
    "  while :; do",
    '    wait "$run_pid"; code=$?',
    "    # A trapped signal ends wait, not the run.",
    '    kill -0 "$run_pid" 2>/dev/null || break',
    "  done",
    '  if [ "$code" -gt 128 ]; then wait "$run_pid"; last=$?; [ "$last" = 127 ] || code=$last; fi',
    "  # SIGUSR2 ended it before it listened: nothing was begun.",
    '  [ "$code" != 140 ] || code=75',
    "fi",
    "",
    "# 75: stopped, and the same command goes on.",
    `if [ "$code" = 75 ] && [ -z "$is_taken_off" ] && [ "\${SLURM_RESTART_COUNT:-0}" -lt ${restarts} ]; then`,
    '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
    "fi",
    'exit "$code"',
    "",
  ].join("\n");
}

function optionText(value: string | number): string {
  const text = String(value);
  return /^[\w./,:=+@%*-]+$/.test(text) ? text : `"${text}"`;
}
