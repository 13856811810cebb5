/**
 * `deno task dashboard <folder>`: a page on this machine that shows the runs in a folder while they work.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { Command, InvalidArgumentError } from "@commander-js/extra-typings";
import { dashboardApp } from "./app.ts";
import { pageFiles } from "./page_files.ts";
import { Runs } from "./runs.ts";

const command = new Command("dashboard")
  .description("shows the runs in a folder on a page of this machine, while they work")
  .argument("[folder]", "folder of runs, or of folders with runs", "out")
  .option("--port <number>", "port on 127.0.0.1; a free one when left out", readPort)
  // As everywhere here: 2 for what has to be changed on the command line.
  .exitOverride(({ exitCode }) => Deno.exit(exitCode === 0 ? 0 : 2))
  .action(serve);
await command.parseAsync(Deno.args, { from: "user" });

function readPort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw new InvalidArgumentError("must be a whole number from 1 to 65535");
}

async function serve(folder: string, { port = 0 }: { port?: number }): Promise<void> {
  const token = randomBytes(24).toString("base64url");
  try {
    const app = dashboardApp({ runs: await Runs.open(folder), files: await pageFiles(), token });
    Deno.serve({
      hostname: "127.0.0.1",
      port,
      onListen: ({ port }) =>
        console.log(
          `Runs in ${folder}: http://127.0.0.1:${port}/?token=${token}\nOpen it in a browser on this machine; Ctrl-C ends it, and no run`,
        ),
    }, app.fetch);
  } catch (error) {
    const isTaken = error instanceof Deno.errors.AddrInUse;
    console.error(isTaken ? `Port ${port} is taken: name another with --port, or none` : (error as Error).message);
    Deno.exit(2);
  }
}
