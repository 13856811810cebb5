import { deepEqual } from "node:assert/strict";
import { networkFlags } from "./network_flags.ts";

Deno.test("networkFlags() allows the network only for names of models that are no paths here", () => {
  const flags = (line: string) => networkFlags(line.split(" "), (path) => path === "models/sd15");
  const base = "--pretrained_model_name_or_path";
  deepEqual(flags(`main.ts train ${base}=owner/name --output_dir out`), ["--allow-net"]);
  deepEqual(flags(`main.ts train ${base} owner/name@fp16`), ["--allow-net"]);
  deepEqual(flags(`main.ts train ${base} models/sd15 ${base}_2 owner/name`), ["--allow-net"]);
  deepEqual(flags(`main.ts train ${base} models/sd15 --vae owner/vae`), ["--allow-net"]);
  deepEqual(flags(`main.ts train ${base} models/sd15 --output_dir owner/name`), []);
  deepEqual(flags(`main.ts train ${base} ./owner/name --vae models/vae/vae.pt`), []);
  deepEqual(flags(`demo.ts ${base}`), []);
});
