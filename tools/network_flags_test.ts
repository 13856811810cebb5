import { deepEqual } from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { networkFlags } from "./network_flags.ts";

const base = "--pretrained_model_name_or_path";

Deno.test("networkFlags() allows the network only for names of models that are no paths here", async () => {
  const flags = (line: string) => networkFlags(line.split(" "), (path) => path === "models/sd15");
  deepEqual(await flags(`cli/main.ts train ${base}=owner/name --output_dir out`), ["--allow-net"]);
  deepEqual(await flags(`cli/main.ts train ${base} owner/name@fp16`), ["--allow-net"]);
  deepEqual(await flags(`--check cli/main.ts train ${base} models/sd15 ${base} owner/name`), ["--allow-net"]);
  deepEqual(await flags(`cli/main.ts train ${base} models/sd15 ${base}_2 owner/name`), ["--allow-net"]);
  deepEqual(await flags(`cli/main.ts train ${base} models/sd15 --vae owner/vae`), ["--allow-net"]);
  deepEqual(await flags(`cli/main.ts train --pretrained_model_name_or_path_2 owner/name`), ["--allow-net"]);
  deepEqual(await flags(`cli/main.ts train ${base} models/sd15 --output_dir owner/name`), []);
  deepEqual(await flags(`cli/main.ts train ${base} ./owner/name --vae models/vae/vae.pt`), []);
  deepEqual(await flags(`cli/main.ts train ${base}`), []);
  deepEqual(await flags(`cli/main.ts train --nonsense --vae owner/vae`), []);
  deepEqual(await flags(`examples/demo.ts ${base}=owner/name`), []);
});

Deno.test("networkFlags() looks into a settings file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "settings.toml");
    await writeFile(file, '[model]\npretrained_model_name_or_path = "owner/name"\n');
    deepEqual(await networkFlags(["cli/main.ts", "train", `--config_file=${file}`], () => false), ["--allow-net"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
