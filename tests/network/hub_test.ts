import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { cp, lstat, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as d from "../../mod.ts";
import { openCheckpoint } from "../../models/checkpoint/checkpoint.ts";
import { type HubOptions, isHubId } from "../../models/checkpoint/hub.ts";
import { OpenedPart } from "../../models/checkpoint/opened_part.ts";
import type { PartFiles } from "../../models/checkpoint/part_files.ts";
import { loadBasesOn } from "../../steps/values/bases.ts";
import { toyBase } from "../models/checkpoint_files.ts";
import { type LocalHub, serveHub } from "./hub_server.ts";

const main = "1".repeat(40), older = "2".repeat(40);
const configs = [
  "model_index.json",
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "unet/config.json",
  "vae/config.json",
];

/** Runs a test with a hub that has the toy base as `people/toy`, an earlier one under the tag `older`, and an empty cache. */
function withHub(
  test: (hub: LocalHub, options: Required<Pick<HubOptions, "cacheFolder" | "endpoint">>) => Promise<void>,
) {
  return async () => {
    const folder = await Deno.makeTempDir({ prefix: "dualora-hub-" }), before = join(folder, "older");
    try {
      await cp(toyBase, before, { recursive: true });
      const config = join(before, "vae", "config.json");
      await writeFile(config, (await readFile(config, "utf8")).replace("{", '{ "scaling_factor": 0.5,'));
      await using hub = await serveHub("people/toy", {
        main: { commit: main, folder: toyBase },
        older: { commit: older, folder: before },
      });
      await test(hub, { cacheFolder: join(folder, "cache"), endpoint: hub.endpoint });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  };
}

/** The bytes of a part's file. */
async function weightBytes(part: PartFiles): Promise<Uint8Array> {
  const [file] = await part.weightFiles();
  return await readFile(file);
}

Deno.test(
  "a model on the hub is listed first, its configurations fetched, its weights when they are loaded, and each once",
  withHub(async (hub, options) => {
    const checkpoint = await openCheckpoint("people/toy", { hub: options });
    deepEqual([...new Set(hub.fetched)].sort(), configs);
    equal(checkpoint.unet.revision, main);

    const bytes = await weightBytes(checkpoint.unet), name = "unet/diffusion_pytorch_model.safetensors";
    deepEqual(bytes, await readFile(join(toyBase, name)));
    equal(new Set(hub.fetched).has(name), true);
    // As huggingface_hub lays its cache out, which other programs share.
    const repository = join(options.cacheFolder, "models--people--toy");
    equal(await readFile(join(repository, "refs", "main"), "utf8"), main);
    equal((await lstat(join(repository, "snapshots", main, name))).isSymbolicLink(), true);
    equal((await readdir(join(repository, "blobs"))).filter((blob) => blob.length === 64).length, 1);

    hub.fetched.length = 0;
    const again = await openCheckpoint("people/toy", { hub: options });
    deepEqual(await weightBytes(again.unet), bytes);
    deepEqual(hub.fetched, []);
  }),
);

Deno.test(
  "a revision is a tag or a commit, as an option or behind the name",
  withHub(async (_, options) => {
    const scale = async (name: string, revision?: string) => {
      const checkpoint = await openCheckpoint(name, { hub: { ...options, ...revision ? { revision } : {} } });
      return (checkpoint.vae!.config.json as { scaling_factor?: number }).scaling_factor;
    };
    equal(await scale("people/toy"), undefined);
    equal(await scale("people/toy", "older"), 0.5);
    equal(await scale("people/toy@older"), 0.5);
    equal(await scale("people/toy", older), 0.5);
    equal(await scale("people/toy@main", "older"), undefined);
    await rejects(openCheckpoint("people/toy", { hub: { ...options, revision: "../main" } }), {
      message: 'Cannot load people/toy: its revision is "../main", must be a branch, a tag or a commit',
    });
  }),
);

Deno.test(
  "without the hub a model is taken from the cache, with a note; told to be offline, the hub is not asked",
  withHub(async (hub, options) => {
    const { unet } = await openCheckpoint("people/toy", { hub: options }), bytes = await weightBytes(unet);
    for (const how of ["out of order", "offline", "gone"] as const) {
      hub.requests.length = 0;
      const hubOptions = how === "offline"
        ? { ...options, offline: true }
        : { ...options, ...how === "gone" ? { endpoint: "http://127.0.0.1:1" } : {} };
      if (how === "out of order") hub.faults.status = 503;
      const checkpoint = await openCheckpoint("people/toy", { hub: hubOptions });
      delete hub.faults.status;
      deepEqual(await weightBytes(checkpoint.unet), bytes);
      equal(checkpoint.unet.revision, main);
      equal(checkpoint.notes.length, 1);
      match(checkpoint.notes[0], /^people\/toy is taken from the cache as it was at commit 11111111: /);
      if (how !== "out of order") deepEqual(hub.requests, []);
    }
    // Of the text encoder only the configuration was fetched.
    const checkpoint = await openCheckpoint("people/toy", { hub: { ...options, offline: true } });
    await rejects(
      checkpoint.textEncoder.weightFiles(),
      /people\/toy \(as the cache has it\)\/text_encoder: it holds config\.json/,
    );
    await rejects(openCheckpoint("people/other", { hub: { ...options, offline: true } }), {
      message:
        "Cannot load people/other: it is no file or folder here; as a model on the hub, its revision main is not in the " +
        `cache (${join(options.cacheFolder, "models--people--other")}), and the hub is not asked`,
    });
  }),
);

Deno.test(
  "a download that breaks off goes on where it stopped, and what came damaged is not kept",
  withHub(async (hub, options) => {
    const checkpoint = await openCheckpoint("people/toy", { hub: options });
    const size = (await readFile(join(toyBase, "unet", "diffusion_pytorch_model.safetensors"))).length;
    hub.faults.breakAfter = 1_000_000;
    await rejects(checkpoint.unet.weightFiles(), (error: Error) => {
      match(
        error.message,
        new RegExp(`^Cannot fetch unet/diffusion_pytorch_model\\.safetensors after \\d+ of ${size} bytes: .*Run again`),
      );
      return true;
    });
    delete hub.faults.breakAfter;
    hub.faults.damage = true;
    const heard: number[] = [];
    await rejects(
      checkpoint.unet.weightFiles((_, done) => heard.push(done)),
      /what came has \d+ bytes and the hash .* Run again to fetch it anew/,
    );
    ok(heard[0] >= 1_000_000, `the first bytes to come were at ${heard[0]}`);

    delete hub.faults.damage;
    deepEqual(
      await weightBytes(checkpoint.unet),
      await readFile(join(toyBase, "unet", "diffusion_pytorch_model.safetensors")),
    );
    await using opened = await OpenedPart.open(checkpoint.unet);
    ok(opened.files[0].tensors.size > 100);
  }),
);

Deno.test(
  "what the hub refuses is said with what to do",
  withHub(async (hub, options) => {
    await rejects(openCheckpoint("people/other", { hub: options }), {
      message:
        "Cannot load people/other: it is no file or folder here, and the hub has no model of that name with a revision main",
    });
    for (const status of [401, 403]) {
      hub.faults.status = status;
      await rejects(
        openCheckpoint("people/toy", { hub: options }),
        /does not give it \(status 40[13]\).*access token .* HF_TOKEN/,
      );
    }
  }),
);

Deno.test(
  "names from the hub that would lead out of the cache are left out",
  withHub(async (hub, options) => {
    hub.faults.extraNames = ["../evil.json", "/etc/evil", "unet/../../evil", "unet/..", "a\\b"];
    const { tokenizer } = await openCheckpoint("people/toy", { hub: options });
    deepEqual([...tokenizer!.folder.files].filter((name) => name.includes("evil") || /\.\.|\\/.test(name)), []);
    ok(tokenizer!.folder.files.has("unet/config.json"));
  }),
);

Deno.test({
  name: "a program that may not use the network says so",
  permissions: { read: "inherit", env: "inherit" },
  fn: async () => {
    const cacheFolder = join(toyBase, "no-cache");
    await rejects(openCheckpoint("people/toy", { hub: { cacheFolder } }), {
      message:
        "Cannot load people/toy: it is no file or folder here; as a model on the hub, its revision main is not in the cache " +
        `(${
          join(cacheFolder, "models--people--toy")
        }), and this program may not use the network; start it with --allow-net for that`,
    });
  },
});

Deno.test(
  "loadBases() takes a base and a VAE from the hub; its plan fetches no weights and counts those to come, its fingerprint is the commit's",
  withHub(async (hub, options) => {
    const step = d.loadBases({ network1: "people/toy@older", vae: "people/toy", hub: options });
    const describe = async () => (await d.pipeline("from the hub").use(step).describe()).steps[0];
    const described = await describe();
    equal(described.unplanned, undefined);
    const files = ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"];
    const contents = await Promise.all(files.map((file) => readFile(join(toyBase, `${file}.safetensors`))));
    const folder = join(options.cacheFolder, "models--people--toy", "blobs");
    const lacking = (sizeBytes: number) => [{ what: "weights from the hub", folder, sizeBytes }];
    const all = contents.reduce((sum, { length }) => sum + length, 0);
    deepEqual(described.disk, lacking(all));
    // What a stopped download left is not fetched again.
    const [text] = contents, hash = createHash("sha256").update(text).digest("hex");
    await writeFile(join(folder, `${hash}.incomplete`), text.subarray(0, 1000));
    deepEqual((await describe()).disk, lacking(all - 1000));
    const print = JSON.stringify(await step.fingerprint!(new AbortController().signal, options.cacheFolder));
    equal(print.includes(main) && print.includes(older), true);
    deepEqual(hub.fetched.filter((name) => name.endsWith(".safetensors")), []);

    const bases = await loadBasesOn({ network1: "people/toy@older", vae: "people/toy", hub: options }, {}, {
      warn() {},
    });
    equal(bases.network1.latentScale, 0.18215);
    const vae = join(options.cacheFolder, "models--people--toy", "snapshots", main, "vae");
    deepEqual((await readdir(vae)).sort(), ["config.json", "diffusion_pytorch_model.safetensors"]);
    deepEqual(bases.tokenizer1.encode("a person").length, 4);
    bases.release();
    deepEqual((await describe()).disk, []);
  }),
);

Deno.test("isHubId() takes owner/name with or without a revision, and no paths", () => {
  for (const name of ["runwayml/stable-diffusion-v1-5", "a/b@fp16", "a/b.c@refs/pr/1"]) {
    equal(isHubId(name), true, name);
  }
  for (const name of ["toy", "./a/b", "/a/b", "a/b/c", "../b", "a/", "a/b@", "a\\b"]) equal(isHubId(name), false, name);
});
