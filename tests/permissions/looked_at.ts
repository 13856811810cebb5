// Prints what this process can know of the machine: what the permission `sys` is for.
import { join } from "node:path";
import { freeSpace } from "../../formats/free_space.ts";
import { lockFolder } from "../../pipeline/lock.ts";
import { hostMemory } from "../../steps/values/check_adapter.ts";

const folder = Deno.cwd();
using _lock = await lockFolder(folder);
const { host } = JSON.parse(await Deno.readTextFile(join(folder, "run.lock")));
console.log(JSON.stringify({
  hostname: host !== "this or another machine",
  statfs: await freeSpace(folder) !== null,
  systemMemoryInfo: hostMemory() !== null,
}));
