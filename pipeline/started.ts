import { fileURLToPath } from "node:url";

/** How a run was started, so that it can be started again. */
export interface Started {
  /** Path of the script that was run. */
  readonly script: string;
  /** What stood behind it. */
  readonly args: readonly string[];
  /** Folders that the run writes to, by the flags that name others: `{ output_dir: "out/demo" }`. */
  readonly folders: { readonly [flag: string]: string };
}

let outputFolderHere: string | undefined;

/**
 * The folder that a script writes to: what `--output_dir` names on its command line, else the script's own. Only a script that asks this way can be run again
 * into another folder, as `rerun` does.
 *
 * @param usual Without `--output_dir`.
 * @throws {TypeError} If `--output_dir` names nothing.
 * @example
 * ```ts
 * import { equal } from "node:assert/strict";
 * equal(outputFolder("out/clothes", []), "out/clothes");
 * equal(outputFolder("out/clothes", ["--quick", "--output_dir=elsewhere"]), "elsewhere");
 * ```
 */
export function outputFolder(usual: string, args: readonly string[] = Deno.args): string {
  const flag = "--output_dir", at = args.findLastIndex((word) => word === flag || word.startsWith(`${flag}=`));
  const found = at < 0 ? usual : args[at] === flag ? args[at + 1] : args[at].slice(flag.length + 1);
  if (!found) throw new TypeError(`Cannot write anywhere: ${flag} names no folder`);
  return outputFolderHere = found;
}

/**
 * How this process was started; null where that was no script in a file: a notebook, a test, a program on the network.
 *
 * @param folders Those that its flags name; the one that the script asked for by {@linkcode outputFolder} when left out.
 */
export function startedHere(folders?: Started["folders"]): Started | null {
  const { mainModule } = Deno;
  if (!mainModule.startsWith("file:") || mainModule.includes("$deno$")) return null;
  return {
    script: fileURLToPath(mainModule),
    args: [...Deno.args],
    folders: folders ?? (outputFolderHere === undefined ? {} : { output_dir: outputFolderHere }),
  };
}
