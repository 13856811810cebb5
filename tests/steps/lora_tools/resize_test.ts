import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { runCommandLine } from "../../../cli/main.ts";
import { readLora } from "../../../formats/lora_file.ts";
import { resizeLora } from "../../../steps/lora_tools/resize.ts";
import { goldenPath } from "../../probe/golden_tensors.ts";
import { inNewFolder } from "../small_training.ts";

const input = goldenPath("files/lora_files/small_conv_f16.safetensors");

Deno.test("resizeLora() gives linear layers and convolutions their ranks, and keeps the scale alpha / rank", () =>
  inNewFolder(async (folder) => {
    const output = join(folder, "small.safetensors");
    const resized = await resizeLora(input, output, { rank: 2, convRank: 1 });
    const before = new Map((await readLora(input)).modules.map((module) => [module.name, module]));
    const { modules, metadata } = await readLora(output);
    deepEqual(modules.map(({ name }) => name).toSorted(), [...before.keys()].toSorted());
    for (const { name, down, alpha } of modules) {
      const old = before.get(name)!, rank = down.shape.length === 4 ? 1 : 2;
      deepEqual([down.shape[0], alpha / rank], [rank, old.alpha / old.down.shape[0]]);
    }
    equal(metadata.get("ss_network_dim"), "Dynamic");
    ok(resized.every(({ normKept }) => normKept > 0.5 && normKept <= 1));
  }));

Deno.test("resize names what it cannot take", () =>
  inNewFolder(async (folder) => {
    const output = join(folder, "small.safetensors");
    await rejects(resizeLora(input, output, { rank: 0 }), {
      message: `Cannot resize ${input}: rank is 0, must be a whole number above 0`,
    });
    await rejects(resizeLora(input, output, { rank: 4, rule: { by: "sv_fro", target: 1.5 } }), {
      message: `Cannot resize ${input}: the target of sv_fro is 1.5, must be above 0 and no more than 1`,
    });
    await rejects(resizeLora(input, input, { rank: 4 }), /it is read as well/);
    await rejects(runCommandLine(["resize", "--model", input, "--save_to", output, "--dynamic_method", "sv_fro"]), {
      name: "UsageError",
      message: "--dynamic_method and --dynamic_param go together: give both or neither",
    });
  }));
