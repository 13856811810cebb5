/** What WebGPU's adapter says of itself. */
export interface AdapterFacts {
  /** Name of the device, such as `llvmpipe (LLVM 15.0.6, 256 bits)`. */
  description: string;
  /** Whether WebGPU calls it a fallback; all that compute on the CPU are. */
  isFallbackAdapter: boolean;
}

/** Everything the decision about the graphics driver rests on. */
export interface MachineFacts {
  /** `Deno.build.os`. */
  os: string;
  /** Text of `/etc/os-release`; empty where there is none. */
  osRelease: string;
  /** Number of the user, 0 for root; null where there are no such numbers. */
  uid: number | null;
  /** The adapter that WebGPU found, or null. */
  adapter: AdapterFacts | null;
  /** Whether there would be an adapter by OpenGL, which lacks 16-bit numbers and is too slow to be of use. */
  hasOpenGl: boolean;
  /** Version of the package `mesa-vulkan-drivers`; null where it is not installed, or packages are not Debian's. */
  mesaPackage: string | null;
  /** What `apt-cache policy mesa-vulkan-drivers` prints in English; needed only where `isDriverGood` says no. */
  aptPolicy: string;
}

/** How apt gets the best Mesa it can reach. */
export interface MesaInstallation {
  /** A package source to add first, where Debian's backports are needed and not there yet. */
  source: { path: string; text: string } | null;
  /** Release to take packages from, such as `bookworm-backports`; null for apt's own choice. */
  release: string | null;
  /** The version, as far as it is known before the sources are read. */
  version: string | null;
}

/** What to do about the driver. */
export type DriverDecision =
  /** All is there. */
  | { kind: "ready" }
  /** We may install or upgrade; without it there is no adapter (`required`), or only a slow one. */
  | { kind: "install"; required: boolean; reason: string }
  /** The user must do it, since we may not; without it there is no adapter (`required`), or only a slow one. */
  | { kind: "ask"; required: boolean; reason: string; command: string | null };

/** Below this version of Mesa the CPU's Vulkan driver is several times slower. */
const goodMesaMajor = 24;
/** First Debian release whose backports hold a good Mesa. */
const firstDebianWithBackports = 12;
const packages = ["mesa-vulkan-drivers", "libvulkan1"];

/** Whether there is nothing to do about the driver; says so before apt is asked, which takes most of a second. */
export function isDriverGood(facts: Pick<MachineFacts, "adapter" | "mesaPackage">): boolean {
  if (facts.adapter === null) return false;
  if (!facts.adapter.isFallbackAdapter || facts.mesaPackage === null) return true;
  return mesaVersion(facts.mesaPackage)[0] >= goodMesaMajor;
}

/** Decides what to do about WebGPU's driver; pure, so that every machine can be tested on any other. */
export function decideDriver(facts: MachineFacts): DriverDecision {
  if (isDriverGood(facts)) return { kind: "ready" };
  const release = parseOsRelease(facts.osRelease);
  const usesApt = facts.os === "linux" && families(release).some((id) => id === "debian" || id === "ubuntu");
  const mayInstall = usesApt && facts.uid === 0;

  if (facts.adapter === null) {
    const found = facts.hasOpenGl ? "WebGPU finds no Vulkan driver, only OpenGL" : "WebGPU finds no adapter";
    if (mayInstall) return { kind: "install", required: true, reason: found };
    return { kind: "ask", required: true, reason: found, command: commandFor(facts, release, usesApt) };
  }
  const plan = planMesa(facts.osRelease, facts.aptPolicy);
  const reason =
    `the CPU's Vulkan driver is Mesa ${facts.mesaPackage}, several times slower than Mesa ${goodMesaMajor} and later`;
  if (plan.version === facts.mesaPackage && plan.source === null) {
    return { kind: "ask", required: false, reason: `${reason}; apt knows no newer one`, command: null };
  }
  if (mayInstall) return { kind: "install", required: false, reason };
  return { kind: "ask", required: false, reason, command: commandFor(facts, release, usesApt) };
}

/**
 * Chooses where apt takes Mesa from: its own candidate where that is the newest it knows, else the backports; on Debian 12 and
 * later the backports are added when all that is known is old.
 */
export function planMesa(osRelease: string, aptPolicy: string): MesaInstallation {
  const release = parseOsRelease(osRelease);
  const policy = parsePolicy(aptPolicy);
  const newest = policy.versions.toSorted((a, b) => compareVersions(b.version, a.version)).at(0);
  const codename = release.VERSION_CODENAME ?? "";
  const backports = `${codename}-backports`;
  const isOld = newest === undefined || mesaVersion(newest.version)[0] < goodMesaMajor;
  const knowsBackports = policy.versions.some(({ sources }) => sources.some(({ suite }) => suite === backports));

  if (
    isOld && !knowsBackports && codename !== "" && release.ID === "debian" &&
    Number(release.VERSION_ID) >= firstDebianWithBackports
  ) {
    const mirror = policy.versions.flatMap(({ sources }) => sources).find(({ suite }) => suite === codename)?.uri;
    return {
      source: {
        path: `/etc/apt/sources.list.d/${backports}.list`,
        text: `deb ${mirror ?? "http://deb.debian.org/debian"} ${backports} main\n`,
      },
      release: backports,
      version: null,
    };
  }
  const isCandidate = newest === undefined || newest.version === policy.candidate;
  const suite = newest?.sources.find(({ suite }) => suite.endsWith("-backports"))?.suite;
  return { source: null, release: isCandidate ? null : suite ?? null, version: newest?.version ?? null };
}

/** The arguments of `apt-get` that carry a plan out. */
export function installArguments(plan: MesaInstallation): string[] {
  return [
    "install",
    "-y",
    "--no-install-recommends",
    ...plan.release === null ? [] : ["-t", plan.release],
    ...packages,
  ];
}

/** The command line that a user with the right to do so has to run; null where we know none. */
function commandFor(facts: MachineFacts, release: Record<string, string>, usesApt: boolean): string | null {
  if (facts.os !== "linux") return null;
  const sudo = facts.uid === 0 ? "" : "sudo ";
  if (usesApt) {
    const plan = planMesa(facts.osRelease, facts.aptPolicy);
    return [
      ...plan.source === null ? [] : [`echo "${plan.source.text.trim()}" | ${sudo}tee ${plan.source.path}`],
      `${sudo}apt-get update`,
      `${sudo}apt-get ${installArguments(plan).join(" ")}`,
    ].join(" && ");
  }
  const commands: Record<string, string> = {
    fedora: "dnf install mesa-vulkan-drivers vulkan-loader",
    rhel: "dnf install mesa-vulkan-drivers vulkan-loader",
    arch: "pacman -S vulkan-swrast vulkan-icd-loader",
    suse: "zypper install libvulkan_lvp libvulkan1",
  };
  const known = families(release).find((id) => Object.hasOwn(commands, id));
  return known === undefined ? null : sudo + commands[known];
}

/** Keys and values of `/etc/os-release`, without their quotes. */
function parseOsRelease(text: string): Record<string, string> {
  return Object.fromEntries(
    [...text.matchAll(/^([A-Z_]+)=["']?(.*?)["']?$/gm)].map(([, key, value]) => [key, value]),
  );
}

/** The distribution, and those it descends from. */
function families(release: Record<string, string>): string[] {
  return [release.ID ?? "", ...(release.ID_LIKE ?? "").split(" ")];
}

interface PolicyVersion {
  version: string;
  sources: { uri: string; suite: string }[];
}

/** Reads `apt-cache policy`: a version's line has its priority behind, lines with its sources follow. */
function parsePolicy(text: string): { candidate: string | null; versions: PolicyVersion[] } {
  const versions: PolicyVersion[] = [];
  for (const line of text.split("\n")) {
    const version = line.match(/^ (?:\*{3}| {3}) (\S+) -?\d+$/)?.[1];
    if (version !== undefined) versions.push({ version, sources: [] });
    const source = line.match(/^ {6,}-?\d+ (\S+:\S+) ([^\s/]+)\/\S+ \S+ Packages$/);
    if (source !== null) versions.at(-1)?.sources.push({ uri: source[1], suite: source[2] });
  }
  return { candidate: text.match(/^\s*Candidate: (\S+)/m)?.[1] ?? null, versions };
}

/** Mesa's own numbers in a package version such as `1:25.0.7-2~bpo12+1`. */
function mesaVersion(version: string): number[] {
  return version.replace(/^\d+:/, "").split("-")[0].split(".").map((part) => parseInt(part));
}

function compareVersions(a: string, b: string): number {
  const right = mesaVersion(b);
  const difference = mesaVersion(a).map((part, index) => part - (right[index] ?? 0)).find((one) => one !== 0);
  return difference ?? 0;
}
