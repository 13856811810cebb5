import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** Folder of what is kept between runs of all recipes: `DUALORA_CACHE`, else `dualora` in the system's folder of caches. */
export function cacheFolder(): string {
  const { DUALORA_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (DUALORA_CACHE) return DUALORA_CACHE;
  const usual = process.platform === "win32"
    ? LOCALAPPDATA ?? join(homedir(), "AppData", "Local")
    : process.platform === "darwin"
    ? join(homedir(), "Library", "Caches")
    : XDG_CACHE_HOME || join(homedir(), ".cache");
  return join(usual, "dualora");
}
