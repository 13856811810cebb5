import { deepEqual, equal, notDeepEqual, rejects, throws } from "node:assert/strict";
import { flagsByName } from "../../cli/flags/table.ts";
import { checkStatus, defaultOf } from "../../cli/settings/settings.ts";
import { UsageError } from "../../cli/usage_error.ts";
import { type GoldenLine, readGoldenLines } from "./golden_lines.ts";
import { givenOfLine, settingsOfLine } from "./parse_line.ts";

const golden = await readGoldenLines();

/** Lines that mean something else here: what the original makes of them is a bug, or it lacks the flag. */
const mended: Readonly<Record<string, Record<string, unknown>>> = {
  "--freeze_network_1=False": {},
  "--freeze_network_1 0": {},
  "--freeze_network_1": { freeze_network_1: true },
  "--orth_te_coefficient=0.5": { orth_te_coefficient: 0.5 },
  "--kld_coefficient=0.5": { kld_coefficient: 0.5 },
  "--half_anneal_epoch=2": { half_annel_epoch: 2 },
  "--pretrained_model_name_or_path=a --pretrained_model_name_or_path=b": {
    pretrained_model_name_or_path: "a",
    pretrained_model_name_or_path_2: "b",
  },
  // sd-scripts' alone.
  "--log_with wandb": { log_with: "wandb" },
};

/** What a line gives that differs from the defaults, as the golden has it. */
function differing(line: readonly string[], isPair: boolean): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(givenOfLine(line)).filter(([name, value]) =>
      !Object.is(value, defaultOf(flagsByName.get(name)!, isPair))
    )
      .map(([name, value]) => [name, Number.isNaN(value) ? "nan" : value]),
  );
}

function check({ line, result, exit }: GoldenLine, isPair: boolean): void {
  if (exit === undefined) return deepEqual(differing(line, isPair), result);
  equal(exit, 2);
  throws(() => givenOfLine(line), UsageError, line.join(" "));
}

Deno.test("68 command lines mean what they mean to the original, but for 8 that its bugs or a missing flag keep from meaning", async (t) => {
  equal(golden.dual.lines.length, 68);
  equal(Object.keys(mended).length, 8);
  let checked = 0;
  for (const each of golden.dual.lines) {
    const own = mended[each.line.join(" ")];
    await t.step(JSON.stringify(each.line), () => {
      if (own) {
        notDeepEqual(each.result, own, "the original means the same: no exception is needed");
        deepEqual(differing(each.line, true), own);
      } else check(each, true);
      checked++;
    });
  }
  equal(checked, 68);
});

Deno.test("68 command lines mean what they mean to sd-scripts, but for 11 with the original's flags, which mean what they mean above", async (t) => {
  equal(golden.sd_scripts_0_6_4.lines.length, 68);
  let originals = 0, checked = 0;
  for (const [at, each] of golden.sd_scripts_0_6_4.lines.entries()) {
    const dual = golden.dual.lines[at], own = mended[each.line.join(" ")];
    deepEqual(dual.line, each.line);
    // sd-scripts knows neither the original's flags nor what is mended here; a base model given twice is the last one there.
    const isTwice = own !== undefined && "pretrained_model_name_or_path_2" in own;
    const isOriginals = isTwice || each.exit === 2 && (own ?? dual.result) !== undefined;
    if (isOriginals) originals++;
    await t.step(JSON.stringify(each.line), () => {
      if (isOriginals) deepEqual(differing(each.line, false), own ?? dual.result);
      else check(each, false);
      checked++;
    });
  }
  deepEqual([checked, originals], [68, 11]);
});

Deno.test("the command of the original's readme means what it says", async () => {
  const { line, result } = golden.dual.readme_example;
  const { values, isPair } = await settingsOfLine(line);
  equal(isPair, true);
  for (const [name, expected] of Object.entries(result!)) {
    // The original takes the last base for both, and "False" for true.
    const mended = { pretrained_model_name_or_path: "PLACE1", freeze_network_1: false, semi_freeze_network_1: false };
    equal(values[name as keyof typeof values], name in mended ? mended[name as keyof typeof mended] : expected, name);
  }
  equal(values.pretrained_model_name_or_path_2, "PLACE2");
});

Deno.test("the bare flag, true, True and 1 freeze network 1; false, False, 0 and nothing do not", async () => {
  for (const name of ["freeze_network_1", "semi_freeze_network_1"] as const) {
    for (const word of ["", "=true", "=True", "=1"]) {
      equal((await settingsOfLine([`--${name}${word}`])).values[name], true);
    }
    for (const word of ["=false", "=False", "=0", "="]) {
      equal((await settingsOfLine([`--${name}${word}`])).values[name], false);
    }
    equal((await settingsOfLine([`--${name}`, "False"])).values[name], false);
    equal((await settingsOfLine([])).values[name], false);
    throws(() => givenOfLine([`--${name}=maybe`]), { message: `--${name} is "maybe", must be True or False` });
  }
});

Deno.test("both spellings of half_anneal_epoch are one flag", async () => {
  for (const name of ["half_annel_epoch", "half_anneal_epoch"]) {
    equal((await settingsOfLine([`--${name}=3`])).values.half_annel_epoch, 3);
  }
  equal((await settingsOfLine(["--half_annel_epoch=3", "--half_anneal_epoch=4"])).values.half_annel_epoch, 4);
});

Deno.test("of two base models the first is network 1's and the second network 2's; there are no third ones", async () => {
  const one = "--pretrained_model_name_or_path=a", two = "--pretrained_model_name_or_path=b";
  const { values } = await settingsOfLine([one, two]);
  deepEqual([values.pretrained_model_name_or_path, values.pretrained_model_name_or_path_2], ["a", "b"]);
  throws(() => givenOfLine([one, two, one]), {
    message: "--pretrained_model_name_or_path is given 3 times: the first is network 1's, the second network 2's",
  });
  throws(() => givenOfLine([one, two, "--pretrained_model_name_or_path_2=c"]), {
    message:
      "--pretrained_model_name_or_path is given twice, and --pretrained_model_name_or_path_2 as well: network 2 has one base model",
  });
});

Deno.test("defaults follow the data: sd-scripts' for one network, the original's for two", async () => {
  const alone = (await settingsOfLine(["--train_data_dir=a"])).values,
    both = (await settingsOfLine(["--train_data_dir_2=b"])).values;
  const keys = Object.keys(golden.other_defaults) as (keyof typeof alone)[];
  for (const name of keys) {
    equal(alone[name], golden.other_defaults[name].sd_scripts_0_6_4, name);
    equal(both[name], golden.other_defaults[name].dual, name);
  }
});

Deno.test("errors name the flag, what was found, and what to do", () => {
  const cases: [string[], string][] = [
    [["--hlep"], "Unknown flag --hlep; did you mean --help? --help lists all flags"],
    [["--lerning_rate=1"], "Unknown flag --lerning_rate; did you mean --learning_rate? --help lists all flags"],
    [
      ["--max_train_steps", "1e3"],
      '--max_train_steps is "1e3", must be a whole number written in digits, such as 1000',
    ],
    [["--learning_rate=fast"], '--learning_rate is "fast", must be a number'],
    [["--mixed_precision=fp8"], '--mixed_precision is "fp8", must be no, fp16 or bf16'],
    [["--frozen_weights=int4"], '--frozen_weights is "int4", must be int8'],
    [["--enable_bucket=1"], "--enable_bucket is there or not and takes no value: found --enable_bucket=1"],
    [["--enable_bucket", "true"], '"true" belongs to no flag: --enable_bucket is there or not and takes no value'],
    [["word"], '"word" belongs to no flag: values stand behind their flags'],
    [["--output_dir"], "--output_dir needs a value, found none"],
    [
      ["--learning_rate", "-1e-4"],
      '--learning_rate needs a value, found "-1e-4"; a value that begins with - is given as --learning_rate=-1e-4',
    ],
    [["--max_tr", "5"], "--max_tr could be --max_train_steps, --max_train_epochs; write one of them out"],
  ];
  for (const [line, message] of cases) throws(() => givenOfLine(line), { name: "UsageError", message });
});

Deno.test("a refused flag ends the command with its reason, unless it only repeats its default", async () => {
  const checked = async (word: string) => checkStatus(await settingsOfLine([word]));
  await rejects(checked("--v2"), {
    name: "UsageError",
    message: "--v2 is refused: only models of Stable Diffusion 1.x can be trained",
  });
  await rejects(checked("--wandb_api_key=1"), /^UsageError: --wandb_api_key is refused: /);
  deepEqual(await checked("--lr_scheduler_type="), []);
});

Deno.test("a flag that works and means something of its own says so", async () => {
  deepEqual(checkStatus(await settingsOfLine(["--xformers"])), [
    "--xformers means here: no effect: attention is computed in pieces in any case, without its matrix in memory",
  ]);
});
