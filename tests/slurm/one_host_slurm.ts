/**
 * Slurm for this host alone, in a folder of its own: its daemons run as whoever starts them, and end with it.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";

const folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const daemons = ["munged", "slurmctld", "slurmd"] as const;
const commands = ["sbatch", "scancel", "scontrol", "squeue", "sinfo"] as const;

/** A program of Slurm's that is not on this machine. */
export class NoSlurmError extends Error {
  override readonly name = "NoSlurmError";
}

/** Where a program lies. */
function pathOf(program: string): string {
  const folder = folders.find((each) => existsSync(join(each, program)));
  if (folder !== undefined) return join(folder, program);
  throw new NoSlurmError(
    `${program} is not there: install Slurm and MUNGE, on Debian and Ubuntu with apt-get install slurm-wlm munge`,
  );
}

/** A Slurm of one node, which runs one job at a time, and two partitions: jobs in `urgent` take those in `main`, the usual one, off the node and queue them again. */
export class OneHostSlurm implements AsyncDisposable {
  readonly #children: Deno.ChildProcess[] = [];

  private constructor(readonly folder: string) {}

  /** What programs need beside their own environment to find it. */
  get env(): Record<string, string> {
    return { SLURM_CONF: join(this.folder, "slurm.conf") };
  }

  /**
   * Starts it; ready when a node is idle.
   *
   * @param folder Made for it, in a folder of the caller's own; a short path, as sockets' paths may have about a hundred bytes.
   * @throws {NoSlurmError} If a program is missing.
   * @throws {Error} With the daemons' last words, if the node is not ready within half a minute.
   */
  static async start(folder: string): Promise<OneHostSlurm> {
    [...daemons, ...commands].forEach(pathOf);
    const slurm = new OneHostSlurm(folder);
    try {
      await slurm.#start();
    } catch (error) {
      await slurm[Symbol.asyncDispose]();
      throw error;
    }
    return slurm;
  }

  async #start(): Promise<void> {
    const { folder } = this, host = hostname().split(".")[0], socket = join(folder, "munge.socket");
    await mkdir(join(folder, "state"), { recursive: true });
    await mkdir(join(folder, "spool"));
    // MUNGE wants everybody to reach its socket, and nobody else to write there.
    await chmod(join(folder, ".."), 0o755);
    await chmod(folder, 0o755);
    await writeFile(join(folder, "munge.key"), randomBytes(1024), { mode: 0o400 });
    await writeFile(join(folder, "slurm.conf"), configuration(folder, host, await userName(), socket));
    const own = (name: string, ending: string) => `--${ending}-file=${join(folder, `${name}.${ending}`)}`;
    this.#spawn(
      "munged",
      "-F",
      own("munge", "key"),
      `--socket=${socket}`,
      own("munge", "pid"),
      own("munge", "log"),
      own("munge", "seed"),
    );
    try {
      await waitFor("munged's socket", 10, () => existsSync(socket));
      this.#spawn("slurmctld", "-D", "-i");
      this.#spawn("slurmd", "-D", "-N", host);
      await waitFor(
        "an idle node",
        30,
        async () => (await this.call("sinfo", "-h", "-p", "main", "-o", "%T")).trim() === "idle",
      );
    } catch (error) {
      const last = async (daemon: string) =>
        (await readFile(join(folder, `${daemon}.out`), "utf8").catch(() => "")).trim().split("\n").slice(-5).join("\n");
      throw new Error([(error as Error).message, ...await Promise.all(daemons.map(last))].join("\n"));
    }
  }

  #spawn(daemon: typeof daemons[number], ...args: string[]): void {
    const command = new Deno.Command("/bin/sh", {
      args: [
        "-c",
        'out=$1; shift; exec "$@" >"$out" 2>&1',
        "sh",
        join(this.folder, `${daemon}.out`),
        pathOf(daemon),
        ...args,
      ],
      env: this.env,
      stdin: "null",
    });
    this.#children.push(command.spawn());
  }

  /**
   * Calls a command of Slurm's.
   *
   * @returns What it prints.
   * @throws {Error} With what it says, if it fails.
   */
  async call(command: typeof commands[number], ...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command(pathOf(command), { args, env: this.env }).output();
    const [printed, said] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    if (!success) throw new Error(`${command} ${args.join(" ")}: ${said.trim()}`);
    return printed;
  }

  /** Begins a command of Slurm's that may not end by itself. */
  begin(command: typeof commands[number], ...args: string[]): { end(): Promise<void> } {
    const child = new Deno.Command(pathOf(command), { args, env: this.env, stdout: "null", stderr: "null" }).spawn();
    return { end: () => ended(child) };
  }

  /** Ends the daemons. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children.toReversed()) await ended(child);
  }
}

async function ended(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGTERM");
  } catch (error) {
    // One that has ended by itself.
    if (!(error instanceof TypeError)) throw error;
  }
  await child.status;
}

/** Waits until something holds, looking five times a second. */
export async function waitFor(what: string, seconds: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!await holds()) {
    if (performance.now() > end) throw new Error(`Waited ${seconds} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function userName(): Promise<string> {
  const { stdout } = await new Deno.Command("id", { args: ["-un"] }).output();
  return new TextDecoder().decode(stdout).trim();
}

/** A port that is free now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function configuration(folder: string, host: string, user: string, socket: string): string {
  return [
    "ClusterName=one",
    `SlurmctldHost=${host}(127.0.0.1)`,
    `SlurmUser=${user}`,
    `SlurmdUser=${user}`,
    `SlurmctldPort=${freePort()}`,
    `SlurmdPort=${freePort()}`,
    "AuthType=auth/munge",
    // A job that is queued again waits as long as its credential lives; 5 s are the least.
    `AuthInfo=socket=${socket},cred_expire=5`,
    `StateSaveLocation=${folder}/state`,
    `SlurmdSpoolDir=${folder}/spool`,
    ...["slurmctld", "slurmd"].flatMap((name) => {
      const key = name.replace(/^s/, "S");
      return [`${key}PidFile=${folder}/${name}.pid`, `${key}LogFile=${folder}/${name}.log`];
    }),
    // No control groups: they need the system's own set-up.
    "ProctrackType=proctrack/linuxproc",
    "TaskPlugin=task/none",
    "JobAcctGatherType=jobacct_gather/none",
    "AccountingStorageType=accounting_storage/none",
    "SelectType=select/cons_tres",
    "SelectTypeParameters=CR_CPU",
    "MpiDefault=none",
    "ReturnToService=2",
    "SchedulerParameters=bf_interval=2,sched_interval=2",
    `NodeName=${host} NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN`,
    "PreemptType=preempt/partition_prio",
    "PreemptMode=REQUEUE",
    "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1",
    "PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2",
    "",
  ].join("\n");
}
