import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];

/**
 * Starts the Chromium that is installed on this machine.
 *
 * @throws {Error} If there is none.
 */
export async function startChromium(): Promise<Browser> {
  const folders = (Deno.env.get("PATH") ?? "").split(delimiter);
  const executablePath = folders.flatMap((folder) => names.map((name) => join(folder, name))).find(existsSync);
  if (executablePath === undefined) {
    throw new Error(
      `Cannot test in a browser: PATH has none of ${
        names.join(", ")
      }. Install one, on Debian and Ubuntu: apt-get install chromium`,
    );
  }
  // As root, such as in a container, Chromium's own sandbox refuses to work.
  return await chromium.launch({ executablePath, chromiumSandbox: Deno.uid() !== 0 });
}
