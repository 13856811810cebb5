import { ok } from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { flagsByName } from "../../cli/flags/table.ts";
import { readSettingsFile } from "../../cli/settings/settings_file.ts";
import { UsageError } from "../../cli/usage_error.ts";
import { Tokenizer } from "../../models/clip/tokenizer.ts";
import { PromptFileError, readPromptFile } from "../../steps/outputs/prompt_file.ts";
import { fuzzTest } from "./fuzz_case.ts";
import { mutated } from "./mutation.ts";

const folder = await Deno.makeTempDir();
const utf8 = (text: string) => new TextEncoder().encode(text);

const prompts: Readonly<Record<string, string>> = {
  txt: "a cat, (smile:1.2) --n blurry --w 512 --h 768 --d 1 --l 7.5 --s 28\n# no\n\n1girl --ss euler_a\n",
  toml: '[prompt]\nwidth = 512\n[[prompt.subset]]\nprompt = "a cat"\nseed = 1\nscale = 7.5\n[[prompt.subset]]\n',
  json: '["a cat --s 20", {"prompt": "a dog", "width": 64, "seed": 3, "scale": 1.5, "sample_sampler": "ddim"}]',
};

for (const [ending, seed] of Object.entries(prompts)) {
  const path = join(folder, `prompts.${ending}`);
  fuzzTest(
    `A changed .${ending} file of prompts is read, or refused by an error that names it`,
    400,
    mutated([utf8(seed)]),
    async (bytes) => {
      await writeFile(path, bytes);
      try {
        for (const { prompt, width, height, steps } of await readPromptFile(path)) {
          ok(typeof prompt === "string" && [width, height, steps].every((size) => Number.isSafeInteger(size)));
        }
      } catch (error) {
        ok(error instanceof PromptFileError && error.message.includes(path), String((error as Error).stack));
      }
    },
  );
}

const settings = 'max_train_steps = 10\n[network]\nnetwork_dim = 4\nnetwork_args = ["conv_dim=2", "a=b"]\n' +
  '[more]\nlearning_rate = 1e-4\nsave_state = true\noutput_name = "a"\noptimizer_type = "AdamW"\n';

fuzzTest(
  "A changed file of settings is read, or refused by an error that names it",
  500,
  mutated([utf8(settings)]),
  async (bytes) => {
    const path = join(folder, "settings.toml");
    await writeFile(path, bytes);
    try {
      for (const name of (await readSettingsFile(path, flagsByName)).values.keys()) ok(flagsByName.has(name), name);
    } catch (error) {
      ok(error instanceof UsageError && error.message.includes(path), String((error as Error).stack));
    }
  },
);

const tokenizer: Readonly<Record<string, string>> = {
  "vocab.json": '{"c": 0, "a": 1, "t</w>": 2, "at</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5}',
  "merges.txt": "#version: 0.2\na t</w>\nc at</w>\n",
  "tokenizer_config.json": '{"model_max_length": 77, "bos_token": {"content": "<|startoftext|>"}, "pad_token": "c"}',
  "special_tokens_map.json": '{"eos_token": {"content": "<|endoftext|>", "lstrip": false}, "unk_token": "a"}',
};

const anyTokenizerFile = fc.oneof(
  ...Object.entries(tokenizer).map(([name, seed]) => mutated([utf8(seed)]).map((bytes) => ({ name, bytes }))),
  fc.oneof(fc.double(), fc.integer(), fc.maxSafeInteger(), fc.jsonValue()).map((value) => ({
    name: "tokenizer_config.json",
    bytes: utf8(JSON.stringify({ model_max_length: value })),
  })),
);

fuzzTest(
  "A changed tokenizer reads a text, or is refused by a typed error",
  800,
  anyTokenizerFile,
  async ({ name, bytes }) => {
    const here = join(folder, "tokenizer");
    await mkdir(here, { recursive: true });
    for (const [each, text] of Object.entries(tokenizer)) {
      await writeFile(
        join(here, each),
        each === name ? bytes : text,
      );
    }
    try {
      const found = await Tokenizer.fromFolder(here);
      ok(found.encodePadded("a cat, \u{1F408}").every((id) => Number.isSafeInteger(id)));
    } catch (error) {
      ok(error instanceof SyntaxError || error instanceof TypeError, String((error as Error).stack));
      ok(!/undefined|not a function|not iterable/.test(error.message), String(error.stack));
    }
  },
);
