import { deepEqual } from "node:assert/strict";
import { flagsByName } from "../../cli/flags/table.ts";
import { datasetCases, networkCases } from "./network_flags.ts";
import { optionsOf, pair } from "./planned_options.ts";

/** What a setting of a data set needs beside it to decide anything. */
function besideData(flag: string): string[] {
  if (flag.includes("bucket") && flag !== "enable_bucket") return ["--enable_bucket"];
  const beside: Record<string, string[]> = {
    prior_loss_weight: ["--reg_data_dir=r", "--reg_data_dir_2=r"],
    keep_tokens: ["--shuffle_caption"],
    token_warmup_min: ["--token_warmup_step=5"],
  };
  return beside[flag] ?? [];
}

Deno.test("each setting of a data set is for both networks, or with _2 for network 2", async (t) => {
  for (const [flag, value, option, expected] of datasetCases) {
    await t.step(`${flag}=${value}`, async () => {
      // A switch has no value; its _2 has, so that network 2 can be without.
      const isSwitch = flagsByName.get(flag)!.type === "switch";
      const beside = besideData(flag);
      const both = await optionsOf(
        [...pair, ...beside, isSwitch ? `--${flag}` : `--${flag}=${value}`],
        "readDatasets",
      );
      const second = await optionsOf([...pair, ...beside, `--${flag}_2=${value}`], "readDatasets");
      const found = [both, second].map((options) =>
        [options?.network1, options?.network2].map((list) => (list as Record<string, unknown>[])[0][option])
      );
      const usual = { resolution: 512, captionExtension: ".caption" }[option];
      deepEqual(found, [[expected, expected], [usual, expected]]);
      if (!isSwitch) return;
      const off = await optionsOf([...pair, ...beside, `--${flag}`, `--${flag}_2=False`], "readDatasets");
      deepEqual((off?.network2 as Record<string, unknown>[])[0][option], undefined);
    });
  }
});

/** Two networks with what a flag needs beside it to decide anything. */
function pairFor(flag: string): string[] {
  const beside: Record<string, string> = {
    lr_warmup_steps: "--lr_scheduler=linear",
    lr_scheduler_num_cycles: "--lr_scheduler=cosine_with_restarts",
    lr_scheduler_power: "--lr_scheduler=polynomial",
    multires_noise_discount: "--multires_noise_iterations=6",
    huber_c: "--loss_type=smooth_l1",
    huber_schedule: "--loss_type=smooth_l1",
  };
  return [...pair, ...flag in beside ? [beside[flag]] : []];
}

Deno.test("each setting of a network is for both networks, or with _2 for network 2", async (t) => {
  for (const [flag, value, option, expected, usual] of networkCases) {
    await t.step(`${flag}=${value}`, async () => {
      const pair = pairFor(flag), both = await optionsOf([...pair, `--${flag}=${value}`], "trainBoth");
      deepEqual([both?.[option], both?.network2], [expected, undefined]);
      const second = await optionsOf([...pair, `--${flag}_2=${value}`], "trainBoth");
      deepEqual([second?.[option], second?.network2], [usual, { [option]: expected }]);
      // Network 1's value counts for network 2 until it has one of its own.
      const line = [...pair, "--freeze_network_1", `--${flag}=${value}`];
      deepEqual((await optionsOf(line, "pretrainNetwork1"))?.[option], expected);
      deepEqual((await optionsOf(line, "trainNetwork2"))?.[option], expected);
      const own = [...pair, "--freeze_network_1", `--${flag}_2=${value}`];
      deepEqual((await optionsOf(own, "pretrainNetwork1"))?.[option], usual);
      deepEqual((await optionsOf(own, "trainNetwork2"))?.[option], expected);
    });
  }
});
