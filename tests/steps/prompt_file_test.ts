import { deepEqual, rejects } from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readPromptFile } from "../../steps/outputs/prompt_file.ts";
import { pictureFileName, planSamples } from "../../steps/outputs/samples.ts";
import { inNewFolder } from "./small_training.ts";

/** sd-scripts 0.6.4's values where a prompt gives none. */
const usual = {
  ...{ negativePrompt: "", width: 512, height: 512, steps: 30, guidance: 7.5, seed: null, sampler: null },
};

Deno.test("prompts are read, rounded and named as sd-scripts 0.6.4 does it while training", () =>
  inNewFolder(async (folder) => {
    const { text, runs } = JSON.parse(
      await readFile(new URL("../golden/files/prompts.json", import.meta.url), "utf8"),
    );
    // The name's ending says nothing there.
    await writeFile(join(folder, "prompts"), text);
    // There a sampler takes as many steps as are asked for, and ddim fails with 1000.
    const { groups } = await planSamples({ folder, prompts: join(folder, "prompts"), everySteps: 1, sampler: "euler" });
    const pictures = groups.flatMap(({ options, prompts }) => prompts.map((prompt) => ({ options, prompt })))
      .toSorted((a, b) => a.prompt.place - b.prompt.place);
    for (const { output_name, epoch, steps, pictures: wanted } of runs) {
      const found = pictures.map(({ prompt, options }) => ({
        prompt: prompt.prompt,
        height: options.height,
        width: options.width,
        num_inference_steps: options.steps,
        guidance_scale: options.guidance,
        // None and nothing are the same to a model.
        negative_prompt: options.negativePrompt || null,
        seed: prompt.seed,
        file: pictureFileName(
          output_name === null ? "" : `${output_name}_`,
          "20231112141516",
          epoch === null ? { step: steps } : { epoch },
          prompt,
        ),
      }));
      deepEqual(found, wanted);
    }
  }));

Deno.test("what is made otherwise than a prompt says is told: sizes, and steps that a sampler does not take", () =>
  inNewFolder(async (folder) => {
    const prompts = join(folder, "p.txt");
    await writeFile(
      prompts,
      "a --s 1000\nb --s 1000 --ss euler_a\nc --s 2000 --ss heun\nd --s 0 --w 60\ne --s 999 --w 72\n",
    );
    const { groups, notes } = await planSamples({ folder, prompts, everySteps: 1 });
    deepEqual(groups.map(({ options: { steps, sampler } }) => [sampler, steps]), [
      ["ddim", 999],
      ["euler_a", 1000],
      ["heun", 1000],
      ["ddim", 1],
      ["ddim", 999],
    ]);
    deepEqual(notes, [
      `prompt 1 of ${prompts} has 999 as its number of steps, not 1000, which ddim does not take`,
      `prompt 3 of ${prompts} has 1000 as its number of steps, not 2000, which heun does not take`,
      `prompt 4 of ${prompts} is 64×512, not 60×512: multiples of 8, 64 at least`,
      `prompt 4 of ${prompts} has 1 as its number of steps, not 0, which ddim does not take`,
    ]);
  }));

// Its later releases have TOML and JSON, and samplers in lines.
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
      { ...usual, ...cat, negativePrompt: "blurry, low--quality", place: 2 },
      { ...usual, prompt: "a dog", place: 3 },
      { ...usual, prompt: "a bird", negativePrompt: "dull", sampler: "euler_a", place: 4 },
    ]);
    const toml = '[prompt]\nwidth = 768\nscale = 4.5\n[[prompt.subset]]\nprompt = "a"\nseed = 3\n' +
      '[[prompt.subset]]\nprompt = "b"\nwidth = 64\nheight = 128\nsample_steps = 2\nnegative_prompt = "c"\nsample_sampler = "ddim"\n';
    deepEqual(await file("a.toml", toml), [
      { ...usual, prompt: "a", width: 768, guidance: 4.5, seed: 3, place: 0 },
      {
        ...{ ...usual, prompt: "b", width: 64, height: 128, guidance: 4.5 },
        ...{ steps: 2, negativePrompt: "c", sampler: "ddim", place: 1 },
      },
    ]);
    deepEqual(await file("a.json", '["a --s 5", {"prompt": "b", "scale": 1}]'), [
      { ...usual, prompt: "a", steps: 5, place: 0 },
      { ...usual, prompt: "b", guidance: 1, place: 1 },
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
      ["c.txt", "a --w wide", /c\.txt, line 1: width is "wide", must be a whole number from 0 on$/],
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
    ];
    for (const [name, text, message] of cases) {
      if (text !== null) await writeFile(join(folder, name), text);
      await rejects(readPromptFile(join(folder, name)), { name: "PromptFileError", message });
    }
  }));
