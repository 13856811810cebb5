import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inNewFolder, resultOf, startScript } from "../examples/run_example.ts";
import { type CodeBlock, codeBlocks, shellCommands } from "./blocks.ts";
import { prepare, programWords, run, standIn } from "./commands.ts";

const project = fileURLToPath(new URL("../../", import.meta.url)), guides = join(project, "docs", "guides");

/** In the order in which people read them: the first one trains the LoRA files that others take. */
const pages = [
  ...["README", "first_pair", "own_pictures", "more_than_two", "low_memory", "from_sd_scripts", "troubleshooting"],
].map((name) => `${name}.md`);

/** The pair that the first guide trains stands for LoRAs that somebody has. */
async function keepPair(folder: string): Promise<void> {
  for (const [from, to] of [["character", "character"], ["character_2", "outfit"], ["character_2", "style"]]) {
    await cp(join(folder, "out/first", `${from}.safetensors`), join(folder, "loras", `${to}.safetensors`));
  }
}

/** A guide's script, which the gate checks the types of, runs as far as `--describe` goes. */
async function describeScript(text: string, page: string, folder: string): Promise<void> {
  const file = join(import.meta.dirname!, "recipes", page.replace(/md$/, "ts")), path = join(folder, "recipe.ts");
  equal((await readFile(file, "utf8")).trim().replace('"../../../mod.ts"', '"./mod.ts"'), text, `${file} is another`);
  const door = JSON.stringify(new URL("../../mod.ts", import.meta.url).href);
  await writeFile(path, standIn(text).replace('"./mod.ts"', door));
  const { code, stdout, stderr } = await resultOf(startScript(path, folder, { args: ["--describe"] }));
  equal(code, 0, stderr);
  match(stdout, /pretrain network 1/);
}

async function runBlock(block: CodeBlock, page: string, folder: string, files: Map<string, boolean>): Promise<void> {
  const { language, text } = block;
  if (language === "toml") {
    const [, name] = /^# (\w+\.toml)\n/.exec(text)!;
    files.set(name, false);
    return await writeFile(join(folder, name), standIn(text));
  }
  if (language === "ts ignore") return await describeScript(text, page, folder);
  for (const words of shellCommands(standIn(text))) {
    if (words[0] === "eval") {
      const [, line] = /^\$\(deno run -A tools\/launch\.ts cli\/main\.ts (.*)\)$/.exec(words[1])!;
      match(await run(line.split(" "), folder), /^dualora\(\) \{/m);
      continue;
    }
    for (const name of files.keys()) if (words.some((word) => word.endsWith(name))) files.set(name, true);
    await run(programWords(words, block), folder);
  }
}

Deno.test("every command, file and script of the guides works as it stands there", async (t) => {
  deepEqual((await readdir(guides)).sort(), pages.toSorted());
  await inNewFolder(async (folder) => {
    await prepare(folder);
    for (const page of pages) {
      const text = await readFile(join(guides, page), "utf8"), files = new Map<string, boolean>();
      ok(!/^ {4}(deno|dualora|npx) /m.test(text), `${page} has a command outside of a fence`);
      let shown = "";
      for (const block of codeBlocks(text)) {
        const { line, language, notRun, textFile } = block, name = `${page}, line ${line}`;
        if (language === "text") {
          shown = block.text;
          continue;
        }
        ok(["sh", "toml", "ts ignore"].includes(language), `${name}: what is a block of ${JSON.stringify(language)}?`);
        if (textFile !== undefined) await writeFile(join(folder, textFile), shown);
        await t.step({
          name: notRun === undefined ? name : `${name} is not run: ${notRun}`,
          ignore: notRun !== undefined,
          fn: () => runBlock(block, page, folder, files),
        });
      }
      for (const [name, isUsed] of files) ok(isUsed, `${page}: no command takes ${name}`);
      if (page === "first_pair.md") await keepPair(folder);
    }
  });
});

Deno.test("the README's recipe and its command line are planned as they stand there", () =>
  inNewFolder(async (folder) => {
    await prepare(folder);
    const text = await readFile(join(project, "README.md"), "utf8"), path = join(folder, "recipe.ts");
    const recipe = codeBlocks(text).find(({ language }) => language === "ts ignore")!.text;
    const last = /^await recipe\.run\(.*$/m, door = JSON.stringify(new URL("../../mod.ts", import.meta.url).href);
    match(recipe, last);
    // As far as its plan, which it prints before it trains.
    await writeFile(path, recipe.replace(last, "").replace('"./mod.ts"', door).replace('"models/sd15"', '"toy"'));
    const { code, stdout, stderr } = await resultOf(startScript(path, folder));
    equal(code, 0, stderr);
    match(stdout, /train network 2/);
    const [line] = text.match(/^ {4}deno task train (?:.*\\\n)*.*$/m)!;
    for (const words of shellCommands(standIn(line))) {
      match(await run([...words.slice(2), "--describe"], folder), /train network 2/);
    }
  }));

Deno.test("the line of sd-scripts in its guide differs from the line below it in its first words alone", async () => {
  const blocks = codeBlocks(await readFile(join(guides, "from_sd_scripts.md"), "utf8"));
  const [[theirs], [ours]] = blocks.slice(0, 2).map(({ text }) => shellCommands(text));
  deepEqual(ours.slice(0, 3), ["deno", "task", "train"]);
  deepEqual(theirs.slice(theirs.indexOf("train_network.py") + 1), ours.slice(3));
});

Deno.test("links of the guides lead to files that are there, and to headings in them", async () => {
  const words = (heading: string) => heading.toLowerCase().replaceAll(/[^\p{L}\p{N} -]/gu, "").replaceAll(" ", "-");
  for (const page of pages) {
    const text = await readFile(join(guides, page), "utf8");
    for (const [, path, heading] of text.matchAll(/\]\(([^)#]+)(?:#([^)]+))?\)/g)) {
      const linked = await readFile(join(guides, path), "utf8");
      const headings = [...linked.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => words(heading));
      ok(heading === undefined || headings.includes(heading), `${page}: ${path} has no heading ${heading}`);
    }
  }
});

Deno.test("blocks of a page are found with what its comments say of them", () => {
  const page = "a\n<!-- not run: because -->\n```sh\nb \\\n  'c d' --e=\"f g\"\n\ne\n```\n```text\n```\n";
  const [block, empty] = codeBlocks(page);
  deepEqual(block, { line: 3, language: "sh", text: "b \\\n  'c d' --e=\"f g\"\n\ne", notRun: "because" });
  deepEqual(empty, { line: 9, language: "text", text: "" });
  deepEqual(shellCommands(block.text), [["b", "c d", "--e=f g"], ["e"]]);
  throws(() => codeBlocks("```sh\na"), /line 1: the block has no end/);
  throws(() => codeBlocks("<!-- skip -->\n```sh\n```"), /line 1: <!-- skip --> says nothing to a test/);
});
