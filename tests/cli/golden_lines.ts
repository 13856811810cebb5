import { readFile } from "node:fs/promises";

/** A flag as argparse knows it. */
export interface GoldenFlag {
  readonly name: string;
  readonly type: string | null;
  readonly default: unknown;
  readonly choices?: readonly unknown[];
  readonly action: string;
  readonly nargs?: string;
}

/** A command line and what argparse made of it: what differs from the defaults, or an exit code. */
export interface GoldenLine {
  readonly line: readonly string[];
  readonly result?: Readonly<Record<string, unknown>>;
  readonly exit?: number;
}

/** A settings file, a command line and what became of it. */
export interface GoldenConfig extends GoldenLine {
  readonly name: string;
  readonly toml: string | null;
  readonly written?: Readonly<Record<string, unknown>>;
}

/** What sd-scripts v0.6.4 and the dual-network script do with command lines; tests/golden/files/README.md. */
export interface GoldenCommandLines {
  readonly dual: { readonly flags: GoldenFlag[]; readonly lines: GoldenLine[]; readonly readme_example: GoldenLine };
  readonly sd_scripts_0_6_4: { readonly flags: GoldenFlag[]; readonly lines: GoldenLine[] };
  readonly only_in_dual: string[];
  readonly only_in_sd_scripts: string[];
  readonly other_defaults: Readonly<Record<string, { readonly dual: unknown; readonly sd_scripts_0_6_4: unknown }>>;
  readonly config_file: { readonly cases: GoldenConfig[]; readonly cases_sd_scripts_0_6_4: GoldenConfig[] };
}

/** Reads the golden. */
export async function readGoldenLines(): Promise<GoldenCommandLines> {
  return JSON.parse(await readFile(new URL("../golden/files/cli.json", import.meta.url), "utf8"));
}
