import type { ListFileEntry } from "@huggingface/hub";
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { writeFileAtomically } from "../../formats/atomic_file.ts";
import { fetchIntoCache, missingFromCache } from "./hub_download.ts";
import { localFolder, type ModelFolder } from "./model_folder.ts";

/** Where models on the hub come from, and where they are kept. */
export interface HubOptions {
  /** Branch, tag or commit; `main` when left out. A name may bring its own: `owner/name@revision`. */
  readonly revision?: string;
  /** Folder of the cache, which is that of huggingface_hub and its relatives; theirs when left out (`HF_HUB_CACHE`, `HF_HOME`). */
  readonly cacheFolder?: string;
  /** Address of the hub; `HF_ENDPOINT`, or else the public one, when left out. */
  readonly endpoint?: string;
  /** Never ask the hub, take what the cache has; set by `HF_HUB_OFFLINE=1` when left out. */
  readonly offline?: boolean;
}

/** A request that did not reach the hub, or found it out of order. */
class UnreachableError extends Error {
  override name = "UnreachableError";
}

const idPattern = /^([A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?$/;
const commitPattern = /^[0-9a-f]{40}$/;
/** What a file's name may be made of: it becomes a path on this machine. */
const filePattern = /^(?!.*(^|\/)\.{1,2}(\/|$))[\w.-]+(\/[\w.-]+)*$/;

/** Whether a name can be that of a model on the hub, `owner/name` or `owner/name@revision`; a path may look the same. */
export function isHubId(name: string): boolean {
  return idPattern.test(name);
}

/**
 * A model on the hub as a folder. Its files are listed now and fetched when they are asked for; what is in the cache is not fetched again.
 * Where the hub cannot be reached, it is what the cache has.
 *
 * @param name `owner/name` or `owner/name@revision`.
 * @throws {Error} If the hub does not have it or does not give it, or it is neither reached nor in the cache.
 */
export async function hubFolder(name: string, options: HubOptions = {}): Promise<ModelFolder> {
  const [, id, ownRevision] = name.match(idPattern)!, revision = ownRevision ?? options.revision ?? "main";
  if (!filePattern.test(revision)) {
    throw new RangeError(
      `Cannot load ${id}: its revision is ${JSON.stringify(revision)}, must be a branch, a tag or a commit`,
    );
  }
  // The package is only needed for models on the hub.
  const hub = await import("@huggingface/hub"), cache = options.cacheFolder ?? hub.getHFHubCachePath();
  const repository = new Repository(hub, id, revision, {
    folder: join(cache, `models--${id.replace("/", "--")}`),
    endpoint: (options.endpoint ?? process.env.HF_ENDPOINT ?? hub.HUB_URL).replace(/\/+$/, ""),
  });
  if (options.offline ?? isSet(process.env.HF_HUB_OFFLINE)) return await repository.cached("the hub is not asked");
  try {
    return await repository.listed();
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
    return await repository.cached(error.message);
  }
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && ["1", "on", "yes", "true"].includes(value.toLowerCase());
}

type Hub = typeof import("@huggingface/hub");

/** A model of the hub at one revision. */
class Repository {
  private readonly access: { repo: string; hubUrl: string; fetch: typeof fetch; accessToken?: string };

  constructor(
    private readonly hub: Hub,
    private readonly id: string,
    private readonly revision: string,
    private readonly place: { readonly folder: string; readonly endpoint: string },
  ) {
    const token = process.env.HF_TOKEN;
    this.access = { repo: id, hubUrl: place.endpoint, fetch: this.fetch, ...token ? { accessToken: token } : {} };
  }

  /** As the hub has it. */
  async listed(): Promise<ModelFolder> {
    const entries = new Map<string, ListFileEntry>(), commit = await this.askCommit();
    try {
      for await (const entry of this.hub.listFiles({ ...this.access, revision: commit, recursive: true })) {
        if (entry.type === "file" && filePattern.test(entry.path)) entries.set(entry.path, entry);
      }
    } catch (error) {
      throw this.explained(error);
    }
    const cached = (file: string) => ({ entry: entries.get(file)!, folder: this.place.folder, commit });
    return {
      name: this.id,
      files: new Set(entries.keys()),
      revision: commit,
      note: null,
      path: (file, onBytes) => fetchIntoCache({ ...cached(file), open: () => this.open(file, commit) }, onBytes),
      download: (file) => missingFromCache(cached(file)),
    };
  }

  /** As the cache has it. */
  async cached(reason: string): Promise<ModelFolder> {
    const { folder } = this.place, commit = await this.cachedCommit();
    const snapshot = commit === null ? null : join(folder, "snapshots", commit);
    const found = snapshot && await localFolder(snapshot).catch((error) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (!found) {
      throw new Error(
        `Cannot load ${this.id}: it is no file or folder here; as a model on the hub, its revision ${this.revision} is not in the ` +
          `cache (${folder}), and ${reason}`,
      );
    }
    const note = `${this.id} is taken from the cache as it was at commit ${commit!.slice(0, 8)}: ${reason}`;
    return { ...found, name: `${this.id} (as the cache has it)`, revision: commit, note };
  }

  /** The commit that the revision is now; kept for when the hub cannot be reached. */
  private async askCommit(): Promise<string> {
    if (commitPattern.test(this.revision)) return this.revision;
    let commit: string;
    try {
      const { id: name, revision } = this;
      commit = (await this.hub.modelInfo({ ...this.access, name, revision, additionalFields: ["sha"] })).sha;
    } catch (error) {
      throw this.explained(error);
    }
    if (!commitPattern.test(commit)) throw new Error(`Cannot load ${this.id}: the hub names the commit ${commit}`);
    const file = this.refFile;
    await mkdir(dirname(file), { recursive: true });
    await writeFileAtomically(file, [new TextEncoder().encode(commit)]);
    return commit;
  }

  private async cachedCommit(): Promise<string | null> {
    if (commitPattern.test(this.revision)) return this.revision;
    try {
      return (await readFile(this.refFile, "utf8")).trim();
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return null;
      throw error;
    }
  }

  private get refFile(): string {
    return join(this.place.folder, "refs", this.revision);
  }

  private async open(file: string, commit: string): Promise<Blob> {
    let blob: Blob | null;
    try {
      blob = await this.hub.downloadFile({ ...this.access, path: file, revision: commit });
    } catch (error) {
      const { message } = this.explained(error);
      throw new Error(`Cannot fetch ${file} of ${this.id}: ${message}`, { cause: error });
    }
    if (blob === null) throw new Error(`Cannot fetch ${file} of ${this.id}: the hub lists it, but does not have it`);
    return blob;
  }

  /** What a request's error means for the user. */
  private explained(error: unknown): Error {
    if (!(error instanceof this.hub.HubApiError)) return error as Error;
    const { statusCode: status } = error, what = `Cannot load ${this.id}`;
    if (status >= 500) {
      return new UnreachableError(`the hub at ${this.place.endpoint} is out of order (status ${status})`);
    }
    if (status === 401 || status === 403) {
      return new Error(
        `${what}: the hub does not give it (status ${status}). Is the name right? A private or gated model needs an access token in ` +
          "the environment variable HF_TOKEN, of an account that has accepted its terms",
        { cause: error },
      );
    }
    const missing =
      `it is no file or folder here, and the hub has no model of that name with a revision ${this.revision}`;
    return new Error(`${what}: ${status === 404 ? missing : `the hub says: ${error.message}`}`, { cause: error });
  }

  private readonly fetch: typeof fetch = async (input, init) => {
    try {
      return await fetch(input, init);
    } catch (error) {
      const { endpoint } = this.place, reason = (error as Error).message;
      const advice = error instanceof Deno.errors.NotCapable
        ? "this program may not use the network; start it with --allow-net for that"
        : `the hub at ${endpoint} cannot be reached: ${reason}`;
      throw new UnreachableError(advice, { cause: error });
    }
  };
}
