/**
 * A hub on this machine: the protocol as far as models are read from it, with faults on demand.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";

/** What a hub does wrong. */
export interface HubFaults {
  /** Status for every request. */
  status?: number;
  /** The connection breaks after so many bytes of a file that is larger. */
  breakAfter?: number;
  /** Bytes of files are changed on their way. */
  damage?: boolean;
  /** Names that are listed beside those of the files. */
  extraNames?: string[];
}

/** A running hub. */
export interface LocalHub extends AsyncDisposable {
  readonly endpoint: string;
  /** Paths of the requests for files, in order. */
  readonly fetched: string[];
  /** All requests. */
  readonly requests: string[];
  readonly faults: HubFaults;
}

/** Commits by revision: each is a folder's content. */
export type HubContent = Readonly<Record<string, { readonly commit: string; readonly folder: string }>>;

const json = (value: unknown, init: ResponseInit = {}) => Response.json(value, init);
/** Files from here on are kept as large ones: by SHA-256. */
const largeBytes = 100_000;

/** Serves one model. */
export async function serveHub(id: string, content: HubContent): Promise<LocalHub> {
  const fetched: string[] = [], requests: string[] = [], faults: HubFaults = {};
  const byCommit = new Map<string, Map<string, Uint8Array<ArrayBuffer>>>();
  for (const { commit, folder } of Object.values(content)) byCommit.set(commit, await filesOf(folder));
  const commitOf = (revision: string) => content[revision]?.commit ?? (byCommit.has(revision) ? revision : null);

  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const url = new URL(request.url), path = decodeURIComponent(url.pathname);
    requests.push(path);
    if (faults.status) return json({ error: "on demand" }, { status: faults.status });
    const [, api, revision = "", file] =
      path.match(`^(/api/models/|/)${id}/(?:revision|tree|resolve)/([^/]+)/?(.*)$`) ?? [];
    const commit = commitOf(revision), files = commit === null ? undefined : byCommit.get(commit);
    if (api === undefined || !files) return json({ error: "Repository not found" }, { status: 404 });
    if (path.startsWith(`/api/models/${id}/revision/`)) return json({ _id: "1", id, sha: commit });
    if (api === "/api/models/") return tree(url, files, faults.extraNames ?? []);
    fetched.push(file);
    return fileResponse(request, file, files.get(file), faults);
  });
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    fetched,
    requests,
    faults,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function filesOf(folder: string): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const found = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found.set(relative(folder, path), new Uint8Array(await readFile(path)));
  }
  return found;
}

/** The list of files, five a page. */
function tree(url: URL, files: ReadonlyMap<string, Uint8Array>, extraNames: readonly string[]): Response {
  const entries = [...files].map(([path, bytes]) => {
    const git = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
    const oid = createHash("sha256").update(bytes).digest("hex");
    return {
      type: "file",
      path,
      size: bytes.length,
      oid: git,
      ...bytes.length >= largeBytes ? { lfs: { oid, size: bytes.length, pointerSize: 134 } } : {},
    };
  });
  const all = [
    ...extraNames.map((path) => ({ type: "file", path, size: 1, oid: "0".repeat(40) })),
    { type: "directory", path: "unet", size: 0 },
    ...entries,
  ];
  const start = Number(url.searchParams.get("cursor") ?? 0), next = new URL(url);
  next.searchParams.set("cursor", String(start + 5));
  const headers: HeadersInit = start + 5 < all.length ? { Link: `<${next}>; rel="next"` } : {};
  return json(all.slice(start, start + 5), { headers });
}

function fileResponse(
  request: Request,
  path: string,
  bytes: Uint8Array<ArrayBuffer> | undefined,
  { breakAfter = Infinity, damage }: HubFaults,
): Response {
  if (!bytes) return json({ error: "Entry not found" }, { status: 404, headers: { "X-Error-Code": "EntryNotFound" } });
  const [, first, last] = request.headers.get("Range")?.match(/^bytes=(\d+)-(\d+)$/) ?? [];
  const start = Number(first ?? 0), end = last === undefined ? bytes.length : Number(last) + 1;
  const headers = {
    "Content-Length": String(end - start),
    "ETag": `"${path}"`,
    ...first === undefined ? {} : { "Content-Range": `bytes ${start}-${end - 1}/${bytes.length}` },
  };
  const part = bytes.slice(start, end);
  if (damage && part.length > 1) part[part.length - 1] ^= 1;
  const breaks = part.length > breakAfter;
  const body = breaks ? brokenStream(part.subarray(0, breakAfter)) : part;
  return new Response(body, { status: first === undefined ? 200 : 206, headers });
}

function brokenStream(bytes: Uint8Array): ReadableStream<Uint8Array> {
  let isSent = false;
  return new ReadableStream({
    pull(controller) {
      if (isSent) controller.close();
      else controller.enqueue(bytes);
      isSent = true;
    },
  });
}
