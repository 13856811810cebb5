import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { Op, Pass } from "../op_list.ts";
import type { Batch } from "../timing.ts";
import type { Runner } from "./interleave.ts";
import type { Answer, Hello, Request } from "./serve.ts";

/** How to start a program. */
export interface CommandLine {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
}

/** Longer than this nothing is waited for: the program is ended, and started anew for the next op. */
const patienceMs = 300_000;

/** A program of `bench:peers` in a process of its own, which is started again when it ends or hangs. */
export class PeerProgram implements Runner {
  private constructor(private readonly line: CommandLine, private process: Running, readonly hello: Hello) {}

  /**
   * Starts a program and waits until it is ready.
   *
   * @throws {Error} If it ends before.
   */
  static async start(line: CommandLine): Promise<PeerProgram> {
    const process = new Running(line);
    return new PeerProgram(line, process, await process.answer() as Hello);
  }

  async prepare(op: Op, pass: Pass): Promise<number> {
    if (this.process.ended) {
      this.process = new Running(this.line);
      await this.process.answer();
    }
    return (await this.ask({ command: "prepare", op, pass }) as { check: number }).check;
  }

  async batch(runs: number): Promise<Batch> {
    return await this.ask({ command: "batch", runs }) as Batch;
  }

  /** Ends the program. */
  async stop(): Promise<void> {
    await this.process.end();
  }

  private async ask(request: Request): Promise<Exclude<Answer, { error: string }>> {
    const answer = await this.process.answer(request) as Answer;
    if ("error" in answer) throw new Error(answer.error);
    return answer;
  }
}

/** One life of a program. */
class Running {
  ended = false;
  private readonly child: ChildProcess;
  private readonly exit: Promise<unknown>;
  private readonly lines: AsyncIterator<string>;

  constructor({ command, args, cwd }: CommandLine) {
    this.child = spawn(command, args, { cwd, stdio: ["pipe", "pipe", "inherit"] });
    this.exit = once(this.child, "exit");
    // A program that dies closes the pipe: its missing answer says so.
    this.child.stdin!.on("error", () => {});
    this.lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]();
  }

  /** Sends a request, if any, and waits for a line. */
  async answer(request?: Request): Promise<unknown> {
    if (request) this.child.stdin!.write(`${JSON.stringify(request)}\n`);
    const patience = new AbortController();
    const late = sleep(patienceMs, null, { signal: patience.signal }).catch(() => null); // aborted when there is an answer
    const line = await Promise.race([this.lines.next(), late]);
    if (line && !line.done) {
      patience.abort();
      return JSON.parse(line.value);
    }
    // Its output may close a moment before it has ended.
    if (line) await Promise.race([this.exit, late]);
    patience.abort();
    await this.end();
    throw new Error(
      line
        ? `the program ended with ${this.child.signalCode ?? this.child.exitCode}`
        : `took longer than ${patienceMs / 1000} s`,
    );
  }

  async end(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    this.child.kill("SIGKILL");
    await this.exit;
  }
}
