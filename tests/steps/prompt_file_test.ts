import { deepEqual, rejects } from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readPromptFile } from "../../steps/outputs/prompt_file.ts";
import { inNewFolder } from "./small_training.ts";

/** sd-scripts 0.6.4's values where a prompt gives none. */
const usual = {
  ...{ negativePrompt: "", width: 512, height: 512, steps: 30, guidance: 7.5, seed: null, sampler: null },
};

// The rules are those that sd-scripts reads prompts by while training (`sample_images`).
Deno.test("readPromptFile() reads lines, TOML and JSON as sd-scripts does", () =>
  inNewFolder(async (folder) => {
    const file = async (name: string, text: string) => {
      await writeFile(join(folder, name), text);
      return await readPromptFile(join(folder, name));
    };
    const cat = { prompt: "a cat, sitting", width: 768, height: 640, seed: 7, steps: 28, guidance: 4.5 };
    const lines = [
      "# a comment",
      "",
      "a cat, sitting --n blurry, low--quality --w 768 --h 640 --d 7 --l 4.5 --s 28",
      "  a dog  ",
      "a bird --NE dull --ss euler_a",
    ].join("\r\n");
    deepEqual(await file("a.txt", lines), [
      { ...usual, ...cat, negativePrompt: "blurry, low--quality" },
      { ...usual, prompt: "a dog" },
      { ...usual, prompt: "a bird", negativePrompt: "dull", sampler: "euler_a" },
    ]);
    const toml = '[prompt]\nwidth = 768\nscale = 4.5\n[[prompt.subset]]\nprompt = "a"\nseed = 3\n' +
      '[[prompt.subset]]\nprompt = "b"\nwidth = 64\nheight = 128\nsample_steps = 2\nnegative_prompt = "c"\nsample_sampler = "ddim"\n';
    deepEqual(await file("a.toml", toml), [
      { ...usual, prompt: "a", width: 768, guidance: 4.5, seed: 3 },
      {
        ...{ ...usual, prompt: "b", width: 64, height: 128, guidance: 4.5 },
        ...{ steps: 2, negativePrompt: "c", sampler: "ddim" },
      },
    ]);
    deepEqual(await file("a.json", '["a --s 5", {"prompt": "b", "scale": 1}]'), [
      { ...usual, prompt: "a", steps: 5 },
      { ...usual, prompt: "b", guidance: 1 },
    ]);
  }));

Deno.test("readPromptFile() names the line or place that it cannot read", () =>
  inNewFolder(async (folder) => {
    const cases: [name: string, text: string | null, message: RegExp][] = [
      ["none.txt", null, /none\.txt: there is no such file$/],
      ["a.txt", "# nothing\n", /a\.txt: it has no prompt$/],
      [
        "b.txt",
        "a\nb --q 5",
        /b\.txt, line 2: unknown option --q; options are --w, --h, --d, --s, --l, --n, --ne, --ss$/,
      ],
      ["c.txt", "a --w wide", /c\.txt, line 1: width is null, must be a whole number from 0 on$/],
      ["d.txt", "a --d 1.5", /d\.txt, line 1: seed is 1\.5, must be a whole number from 0 on$/],
      ["e.toml", "prompt = 1", /e\.toml: it has no \[\[prompt\.subset\]\]$/],
      ["f.toml", "[prompt]\nwidth = \n", /f\.toml, line 2, column \d+: Invalid TOML/],
      [
        "k.toml",
        '[prompt]\n[[prompt.subset]]\nprompt = "a"\n[[prompt.subset]]\nsteps = 3\n',
        /k\.toml, line 4, prompt\.subset 2: unknown key steps; /,
      ],
      ["g.json", '{"a": 1}', /g\.json: it holds no list of prompts$/],
      [
        "h.json",
        '[{"prompt": "a", "steps": 3}]',
        /h\.json, prompt 1: unknown key steps; keys are prompt, negative_prompt, /,
      ],
      ["i.json", "[", /i\.json: .*JSON/],
      ["j.md", "a", /j\.md: its name must end in \.txt, \.toml or \.json$/],
    ];
    for (const [name, text, message] of cases) {
      if (text !== null) await writeFile(join(folder, name), text);
      await rejects(readPromptFile(join(folder, name)), { name: "PromptFileError", message });
    }
  }));
