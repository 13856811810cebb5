import { isAbsolute, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import * as things from "../../steps/things.ts";
import { shellText } from "../shell_text.ts";
import type { RecipePlan } from "./step_calls.ts";

/** Widest line of a script. */
const lineWidth = 100;

/** Where a printed script belongs. */
export interface ScriptPlace {
  /** What the script imports: `mod.ts` of this installation, by its address or from the script's folder. */
  readonly door: string;
  /** How it is run, for the comment on top; left out where that is said elsewhere. */
  readonly run?: readonly string[];
}

/** A script that lies anywhere: it imports this installation by its address. */
export function anywhere(): ScriptPlace {
  const launcher = fileURLToPath(new URL("../../tools/launch.ts", import.meta.url));
  return {
    door: new URL("../../mod.ts", import.meta.url).href,
    run: [
      "Saved as recipe.ts, it runs with",
      `${shellText(["deno", "run", "-A", launcher])} recipe.ts`,
      "(--allow-net before recipe.ts where a model comes from the hub). Paths are relative to the folder that it is run",
      "in, as they were for the command.",
    ],
  };
}

/**
 * A recipe as a TypeScript script that does the same run: the options of each step, as they were handed to it.
 *
 * @param command The command line that it comes from, for the comment on top.
 */
export function recipeScript(
  { name, folder, outputFolder, calls }: RecipePlan,
  command: string,
  { door, run = [] }: ScriptPlace,
): string {
  const used = new Set<string>(), writing: Writing = { used, outputFolder };
  const uses = calls.map(([step, options]) => {
    const before = `  .use(d.${step}(`;
    return `${before}${Object.keys(options).length === 0 ? "" : valueText(options, "  ", before.length, writing)}))`;
  });
  return [
    "/**",
    " * What this command line does:",
    ...wrapped(command.replaceAll("*/", "*\\/")).map((line) => ` * ${line}`),
    ...run.length === 0 ? [] : ["", ...run].map((line) => ` * ${line}`.trimEnd()),
    " */",
    `import * as d from ${JSON.stringify(door)};`,
    "",
    ...used.size === 0 ? [] : [`const { ${[...used].join(", ")} } = d.things;`],
    `const folder = d.outputFolder(${JSON.stringify(outputFolder)});`,
    "",
    `const recipe = d.pipeline(${JSON.stringify(name)})`,
    `${uses.join("\n")};`,
    "",
    `await d.runRecipe(recipe, { folder: ${folderText(folder, outputFolder)} });`,
    "",
  ].join("\n");
}

/** A command line in lines that can be pasted. */
function wrapped(command: string): string[] {
  const lines = [""];
  for (const word of command.split(" ")) {
    const last = lines.at(-1)!, longer = last === "" ? word : `${last} ${word}`;
    if (last === "" || longer.length + " *  \\".length <= lineWidth) lines[lines.length - 1] = longer;
    else lines.push(`  ${word}`);
  }
  return lines.map((line, at) => at < lines.length - 1 ? `${line} \\` : line);
}

/** A command line as somebody would type it. */
export function commandText(args: readonly string[]): string {
  return `deno task train ${shellText(args)}`.trimEnd();
}

/** What values are written with. */
interface Writing {
  /** Gets the names of the things that are mentioned. */
  readonly used: Set<string>;
  /** The script calls it `folder`. */
  readonly outputFolder: string;
}

/** A folder as TypeScript: from the output folder, where it lies in there, so that one word moves all of them. */
function folderText(folder: string, outputFolder: string): string {
  const inside = relative(outputFolder, folder).split(sep).join("/");
  if (inside === "") return "folder";
  if (inside === ".." || inside.startsWith("../") || isAbsolute(inside)) return JSON.stringify(folder);
  return `\`\${folder}/${inside.replace(/[\\`$]/g, "\\$&")}\``;
}

/**
 * A value as TypeScript.
 *
 * @param before Letters in front of it on its line.
 */
function valueText(value: unknown, indent: string, before: number, writing: Writing): string {
  const thing = Object.entries(things).find(([, thing]) => thing === value)?.[0];
  if (thing !== undefined) {
    writing.used.add(thing);
    return thing;
  }
  if (typeof value === "number") return numberText(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const isList = Array.isArray(value);
  const items = (inner: string) =>
    isList
      ? value.map((each) => valueText(each, inner, inner.length, writing))
      : Object.entries(value).filter(([, each]) => each !== undefined).map(([name, each]) => {
        const key = /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
        const text = /^folder2?$/.test(name) && typeof each === "string"
          ? folderText(each, writing.outputFolder)
          : valueText(each, inner, inner.length + key.length + 2, writing);
        return text === key ? key : `${key}: ${text}`;
      });
  const flat = items(indent), [open, close] = isList ? ["[", "]"] : ["{", "}"];
  if (flat.length === 0) return open + close;
  const line = isList ? `[${flat.join(", ")}]` : `{ ${flat.join(", ")} }`;
  if (!line.includes("\n") && before + line.length + 3 <= lineWidth) return line;
  const inner = `${indent}  `;
  return `${open}\n${items(inner).map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

/** As JavaScript writes it; what JSON has no word for, too. */
function numberText(value: number): string {
  return Number.isNaN(value) ? "NaN" : String(value);
}
