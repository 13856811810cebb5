import { deepEqual, equal, ok } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { sampleStore } from "../../mod.ts";
import { checkToyLora } from "./lora_files.ts";
import { inNewFolder, runExample } from "./run_example.ts";

const loraFiles = ["network1.safetensors", "network2.safetensors", "network2_without_orthogonality.safetensors"];

/** The sheet's columns, in its order. */
const columns = [
  ["base", "base"],
  ["character alone", "character"],
  ["outfit alone", "outfit"],
  ["outfit alone, no loss", "outfit-without-orthogonality"],
  ["stack, no loss", "stack-without-orthogonality"],
  ["stack, orthogonality", "stack"],
];

Deno.test("the demo makes sound LoRA files, pictures and reports, and does nothing when it is run again", () =>
  inNewFolder(async (folder) => {
    const first = await runExample("demo", folder);
    deepEqual({ code: first.code, stderr: first.stderr }, { code: 0, stderr: "" }, first.stdout);
    const out = join(folder, "out", "demo-quick");
    deepEqual((await readdir(out)).sort(), [...loraFiles, "report.html", "report.json", "run", "samples.png"].sort());

    for (const file of loraFiles) await checkToyLora(join(out, file), { rank: 16, alpha: 16 });
    await checkSheet(out);
    await checkReport(out);

    const before = await modifiedTimes(out);
    const second = await runExample("demo", folder);
    equal(second.code, 0);
    equal(second.stdout.match(/: unchanged$/gm)?.length, 12);
    equal(/: (starts|goes on|loaded)/.test(second.stdout), false, second.stdout);
    deepEqual(await modifiedTimes(out), before);
    ok(second.seconds < Math.max(5, first.seconds / 4), `${second.seconds} s after ${first.seconds} s`);
  }));

/** The sheet shows the sampled pictures as they are, column after column, row after row. */
async function checkSheet(out: string): Promise<void> {
  const { data, info } = await sharp(join(out, "samples.png")).raw().toBuffer({ resolveWithObject: true });
  equal(info.channels, 3);
  const { samples } = await sampleStore.load(join(out, "run", "steps", "09-sample", "product"));
  const pictures = columns.map(([name]) => samples.columns.find((column) => column.name === name)!.pictures);
  const row = info.width * 3, side = 128;
  const isAt = (picture: Uint8Array, x: number, y: number) => {
    for (let line = 0; line < side; line++) {
      const from = (y + line) * row + x * 3;
      if (
        Buffer.compare(data.subarray(from, from + side * 3), picture.subarray(line * side * 3, (line + 1) * side * 3))
      ) {
        return false;
      }
    }
    return true;
  };
  const find = (picture: Uint8Array) => {
    const at = data.indexOf(picture.subarray(0, side * 3));
    ok(at >= 0, "samples.png does not hold a sampled picture");
    return { x: at % row / 3, y: Math.floor(at / row) };
  };
  const corner = find(pictures[0][0].pixels), below = find(pictures[0][1].pixels), beside = find(pictures[1][0].pixels);
  for (const [c, column] of pictures.entries()) {
    for (const [r, { pixels }] of column.entries()) {
      const x = corner.x + c * (beside.x - corner.x), y = corner.y + r * (below.y - corner.y);
      ok(isAt(pixels, x, y), `column ${c}, row ${r} of samples.png is another picture`);
    }
  }
}

async function checkReport(out: string): Promise<void> {
  const report = JSON.parse(await readFile(join(out, "report.json"), "utf8"));
  const html = await readFile(join(out, "report.html"), "utf8");

  ok(typeof report.adapter.name === "string" && report.adapter.name !== "");
  ok(html.includes(report.adapter.name));

  const stages = report.stages.map(({ name }: { name: string }) => name);
  deepEqual(stages, [
    ...["load bases", "read data", "load priors", "cache latents", "pretrain network 1", "freeze network 1"],
    ...["train network 2", "train network 2 without orthogonality", "sample", "measure retention", "save networks"],
  ]);
  for (const { name, seconds } of report.stages) {
    ok(seconds >= 0);
    ok(html.includes(name), `report.html does not name the stage ${name}`);
  }

  deepEqual(report.columns.map(({ name, kind }: { name: string; kind: string }) => [name, kind]), columns);
  for (const { name, identityKept, outfitTaken } of report.columns) {
    ok(html.includes(name), `report.html does not name the column ${name}`);
    equal(identityKept !== null, /character|stack/.test(name));
    equal(outfitTaken !== null, /outfit|stack/.test(name));
    ok(identityKept === null || Number.isFinite(identityKept));
    ok(outfitTaken === null || Number.isFinite(outfitTaken));
  }

  ok(report.settings.steps >= 4);
  const [pretrained, trained, compared] = report.training;
  deepEqual([pretrained, trained, compared].map(({ network, orthogonality }) => [network, orthogonality]), [
    [1, false],
    [2, true],
    [2, false],
  ]);
  for (const { name, network, steps } of report.training) {
    ok(html.includes(name), `report.html does not name the training ${name}`);
    deepEqual(
      steps.map(({ step }: { step: number }) => step),
      Array.from({ length: report.settings.steps }, (_, at) => at),
    );
    for (const { values } of steps) ok(Number.isFinite(values[`loss_${network}`]) && values[`norm_${network}`] > 0);
  }
  for (const { values } of trained.steps) ok(Number.isFinite(values.orth_te) && Number.isFinite(values.orth_unet));
  ok(trained.steps.at(-1).values.orth_te > 0 && trained.steps.at(-1).values.orth_unet > 0);

  deepEqual(report.files.map(({ name }: { name: string }) => name), loraFiles);
  for (const { name, bytes, sha256 } of report.files) {
    const content = await readFile(join(out, name));
    equal(bytes, content.length);
    equal(sha256, createHash("sha256").update(content).digest("hex"));
  }
  // The page shows the sheet without needing a file beside it.
  ok(html.includes((await readFile(join(out, report.samples))).toString("base64")));
}

async function modifiedTimes(folder: string): Promise<Record<string, number>> {
  const names = (await readdir(folder)).filter((name) => name !== "run");
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => {
      return [name, (await stat(join(folder, name))).mtimeMs];
    })),
  );
}
