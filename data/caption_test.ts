import { deepEqual, equal, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import { CaptionError, captionNames, type CaptionOptions, processCaption, readCaption } from "./caption.ts";

const goldens = JSON.parse(await Deno.readTextFile(join(import.meta.dirname!, "../tests/golden/files/captions.json")));

/** The goldens' random source: numbers from a list, and shuffling reverses. */
class ScriptedRandom {
  used = 0;
  constructor(readonly numbers: readonly number[]) {}
  nextFloat(): number {
    return this.numbers[this.used++];
  }
  shuffle<T>(items: T[]): void {
    items.reverse();
  }
}

// deno-lint-ignore no-explicit-any
function optionsOf(row: any): CaptionOptions {
  return {
    shuffleCaption: row.shuffle_caption,
    keepTokens: row.keep_tokens,
    captionDropoutRate: row.caption_dropout_rate,
    captionDropoutEveryNEpochs: row.caption_dropout_every_n_epochs,
    captionTagDropoutRate: row.caption_tag_dropout_rate,
    tokenWarmupMin: row.token_warmup_min,
    tokenWarmupStep: row.token_warmup_step,
  };
}

Deno.test("processCaption() changes captions as sd-scripts does", () => {
  for (const row of goldens.process.cases) {
    const random = new ScriptedRandom(row.random);
    const time = { epoch: row.epoch, step: row.step, maxTrainSteps: row.max_train_steps };
    // sd-scripts' first call rewrites the warm-up length; its later calls are what a run mostly sees.
    const expected = Array.isArray(row.result) ? row.result.at(-1) : row.result;
    equal(processCaption(row.caption, optionsOf(row), time, random), expected, JSON.stringify(row));
    equal(random.used, row.random_used, JSON.stringify(row));
  }
  equal(goldens.process.cases.length, 133);
});

Deno.test("processCaption() drops every caption of each n-th epoch", () => {
  for (const [every, dropped] of goldens.dropout_every_n_epochs.rows) {
    dropped.forEach((isDropped: boolean, epoch: number) => {
      const options = { captionDropoutEveryNEpochs: every };
      const caption = processCaption("a", options, { epoch, step: 0 }, new ScriptedRandom([]));
      equal(caption, isDropped ? "" : "a", `every ${every}, epoch ${epoch}`);
    });
  }
});

Deno.test("processCaption() warms tags up as sd-scripts does", () => {
  const { steps, rows } = goldens.token_warmup;
  for (const [count, tokenWarmupMin, tokenWarmupStep, kept] of rows) {
    const caption = Array.from({ length: count }, (_, tag) => `t${tag}`).join(",");
    const found = steps.map((step: number) => {
      const time = { epoch: 1, step, maxTrainSteps: 100 };
      const result = processCaption(caption, { tokenWarmupMin, tokenWarmupStep }, time, new ScriptedRandom([]));
      return result.split(",").filter((tag) => tag !== "").length;
    });
    deepEqual(found, kept, `${count} tags, ${tokenWarmupMin}, ${tokenWarmupStep}`);
  }
});

Deno.test("processCaption() asks for the number of steps when the warm-up is a share of them", () => {
  throws(
    () => processCaption("a", { tokenWarmupStep: 0.5 }, { epoch: 1, step: 0 }, new ScriptedRandom([])),
    /RangeError: Cannot use tokenWarmupStep 0.5: .*maxTrainSteps/,
  );
});

Deno.test("captionNames() prefers .caption, and the image's own name to that without a face position", () => {
  deepEqual(captionNames("a.b.png"), ["a.b.caption", "a.b.txt"]);
  deepEqual(captionNames("p_q_1_2_3_4.jpg", ".txt"), ["p_q_1_2_3_4.txt", "p_q.txt"]);
  deepEqual(captionNames("x_1_2_3.png", ".txt"), ["x_1_2_3.txt"]);
});

Deno.test("readCaption() names a file that cannot be opened", async () => {
  await rejects(readCaption("/no/such.txt"), (error: unknown) => {
    return error instanceof CaptionError && error.file === "/no/such.txt" && /cannot be opened/.test(error.message);
  });
});
