import { createInterface } from "node:readline";
import { stdin } from "node:process";
import type { Op, Pass } from "../op_list.ts";
import { timeBatch, type Work } from "../timing.ts";

/** What `bench:peers` asks a program for, a JSON line each. The program answers each with one line. */
export type Request =
  /** Put a pass of an op on the device and run it once. */
  | { readonly command: "prepare"; readonly op: Op; readonly pass: Pass }
  /** Time a batch of runs. */
  | { readonly command: "batch"; readonly runs: number };

/** The first line of a program. */
export interface Hello {
  readonly peer: string;
  readonly version: string;
  readonly adapter: string;
}

/** What a program answers: the mean absolute value of the first run's result, the batch's milliseconds, or why it cannot. */
export type Answer = { readonly check: number } | { readonly wallMs: number; readonly cpuMs: number } | {
  readonly error: string;
};

/** A pass of an op, ready to run. */
export interface PeerWork extends Work {
  /** Mean absolute value of the output, or of the gradient by the first input. */
  check(): Promise<number>;
  dispose(): void;
}

/** Answers requests on stdin by lines on stdout until stdin ends. What is prepared last takes the place of what was before. */
export async function serve(
  hello: Hello,
  prepare: (op: Op, pass: Pass) => PeerWork | Promise<PeerWork>,
): Promise<void> {
  console.log(JSON.stringify(hello));
  let work: PeerWork | null = null;
  for await (const line of createInterface({ input: stdin })) {
    const request: Request = JSON.parse(line);
    try {
      if (request.command === "prepare") {
        work?.dispose();
        work = null;
        work = await prepare(request.op, request.pass);
        await timeBatch(work, 1);
        say({ check: await work.check() });
      } else {
        if (!work) throw new Error("nothing is prepared");
        say(await timeBatch(work, request.runs));
      }
    } catch (error) {
      say({ error: String(error).split("\n")[0].slice(0, 200) });
    }
  }
}

function say(answer: Answer): void {
  console.log(JSON.stringify(answer));
}
