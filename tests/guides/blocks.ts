/** What a guide says of a block's test, in a comment in front of it. */
export interface BlockMark {
  /** `not run`: the reason. */
  readonly notRun?: string;
  /** `run`: words behind a training's command, so that it is run and not only planned. */
  readonly runWith?: readonly string[];
  /** `with`: the file that holds the block of text above. */
  readonly textFile?: string;
}

/** A block of code in a guide. */
export interface CodeBlock extends BlockMark {
  /** Line of the first fence, from 1. */
  readonly line: number;
  /** Behind the fence: `sh`, `toml`, `ts ignore`, `text`. */
  readonly language: string;
  readonly text: string;
}

const mark = /^<!-- (not run|run|with): (.+) -->$/;

/**
 * The blocks of code of a page in Markdown.
 *
 * @throws {SyntaxError} If a fence is not closed, or a comment in front of a block is none that a test knows.
 */
export function codeBlocks(page: string): CodeBlock[] {
  const lines = page.split("\n"), blocks: CodeBlock[] = [];
  for (let at = 0; at < lines.length; at++) {
    const open = /^```(.*)$/.exec(lines[at]);
    if (!open) continue;
    const end = lines.indexOf("```", at + 1), before = lines[at - 1] ?? "";
    if (end < 0) throw new SyntaxError(`line ${at + 1}: the block has no end`);
    const [, kind, value] = mark.exec(before) ?? [];
    if (kind === undefined && before.startsWith("<!--")) {
      throw new SyntaxError(`line ${at}: ${before} says nothing to a test`);
    }
    blocks.push({
      line: at + 1,
      language: open[1],
      text: lines.slice(at + 1, end).join("\n"),
      ...(kind === "not run" ? { notRun: value } : {}),
      ...(kind === "run" ? { runWith: value.split(" ") } : {}),
      ...(kind === "with" ? { textFile: value } : {}),
    });
    at = end;
  }
  return blocks;
}

/** Commands of a block for a shell, a list of words each; a backslash at the end of a line joins it with the next, quotes hold blanks. */
export function shellCommands(text: string): string[][] {
  return text.replaceAll("\\\n", " ").split("\n").filter((line) => line.trim() !== "").map((line) =>
    [...line.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replaceAll(/"([^"]*)"|'([^']*)'/g, "$1$2"))
  );
}

/** Commands of this project that a page shows in indented paragraphs, each on one line. */
export function indentedCommands(page: string): string[] {
  return page.split(/\n{2,}/).filter((paragraph) => paragraph.startsWith("    ")).flatMap((paragraph) =>
    paragraph.replaceAll(/\\\n */g, "").split("\n").map((line) => line.trim())
  ).filter((line) => /^(deno|dualora|npx) /.test(line));
}
