import { deepEqual, equal, match } from "node:assert/strict";
import { decideDriver, type MachineFacts, planMesa } from "./driver_plan.ts";

const debian12 =
  'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\nID=debian\n';
const debian13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nID=debian\n';
const ubuntu22 = 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\nVERSION_CODENAME=jammy\n';
const fedora = "ID=fedora\nVERSION_ID=43\n";

const llvmpipe = { description: "llvmpipe (LLVM 15.0.6, 256 bits)", isFallbackAdapter: true };
const discrete = { description: "NVIDIA GeForce RTX 3060", isFallbackAdapter: false };

/** As `apt-cache policy` prints it. */
function policy(installed: string, candidate: string, table: [string, string][]): string {
  const lines = table.map(([version, source]) => {
    const mark = version === installed ? "***" : "   ";
    return ` ${mark} ${version} 500\n        500 ${source}/main amd64 Packages`;
  });
  return `mesa-vulkan-drivers:\n  Installed: ${installed}\n  Candidate: ${candidate}\n  Version table:\n${
    lines.join("\n")
  }\n`;
}

const old: [string, string] = ["22.3.6-1+deb12u2", "http://mirror.example/debian bookworm"];
const backported: [string, string] = ["25.0.7-2~bpo12+1", "http://deb.debian.org/debian bookworm-backports"];
const onlyOld = policy("(none)", old[0], [old]);
const both = policy("(none)", old[0], [backported, old]);

function facts(changes: Partial<MachineFacts>): MachineFacts {
  const empty = { adapter: null, mesaPackage: null, hasOpenGl: false };
  return { os: "linux", osRelease: debian12, uid: 0, aptPolicy: onlyOld, ...empty, ...changes };
}

Deno.test("decideDriver() leaves a machine with a graphics card or a good Mesa alone", () => {
  equal(decideDriver(facts({ adapter: discrete })).kind, "ready");
  equal(decideDriver(facts({ adapter: llvmpipe, mesaPackage: "25.0.7-2~bpo12+1" })).kind, "ready");
  equal(decideDriver(facts({ adapter: llvmpipe, mesaPackage: "24.0.0-1" })).kind, "ready");
  equal(decideDriver(facts({ adapter: llvmpipe, mesaPackage: null, osRelease: fedora, aptPolicy: "" })).kind, "ready");
});

Deno.test("decideDriver() installs where there is no adapter, for root on Debian and Ubuntu", () => {
  const wanted = { kind: "install", required: true, reason: "WebGPU finds no adapter" };
  deepEqual(decideDriver(facts({})), wanted);
  deepEqual(decideDriver(facts({ osRelease: ubuntu22 })), wanted);
});

Deno.test("decideDriver() says when only OpenGL was found", () => {
  const decision = decideDriver(facts({ hasOpenGl: true }));
  deepEqual(decision, { kind: "install", required: true, reason: "WebGPU finds no Vulkan driver, only OpenGL" });
});

Deno.test("decideDriver() gives other users the exact command, backports included", () => {
  deepEqual(decideDriver(facts({ uid: 1000 })), {
    kind: "ask",
    required: true,
    reason: "WebGPU finds no adapter",
    command:
      'echo "deb http://mirror.example/debian bookworm-backports main" | sudo tee /etc/apt/sources.list.d/bookworm-backports.list' +
      " && sudo apt-get update" +
      " && sudo apt-get install -y --no-install-recommends -t bookworm-backports mesa-vulkan-drivers libvulkan1",
  });
});

Deno.test("decideDriver() gives other distributions their own command, and other systems none", () => {
  const command = (changes: Partial<MachineFacts>) => {
    const decision = decideDriver(facts({ aptPolicy: "", ...changes }));
    return decision.kind === "ask" && decision.required ? decision.command : "not asked";
  };
  equal(command({ osRelease: fedora, uid: 1000 }), "sudo dnf install mesa-vulkan-drivers vulkan-loader");
  equal(command({ osRelease: fedora, uid: 0 }), "dnf install mesa-vulkan-drivers vulkan-loader");
  equal(command({ osRelease: 'ID=cachyos\nID_LIKE="arch"\n', uid: 0 }), "pacman -S vulkan-swrast vulkan-icd-loader");
  equal(command({ osRelease: "ID=nixos\n" }), null);
  equal(command({ osRelease: "" }), null);
  equal(command({ os: "darwin", osRelease: "", uid: 501 }), null);
  equal(command({ os: "windows", osRelease: "", uid: null }), null);
});

Deno.test("decideDriver() upgrades an old Mesa when it may, and else says how", () => {
  const slow = { adapter: llvmpipe, mesaPackage: old[0], aptPolicy: policy(old[0], old[0], [old]) };
  const decision = decideDriver(facts(slow));
  equal(decision.kind === "install" && !decision.required, true);
  const asked = decideDriver(facts({ ...slow, uid: 1000 }));
  equal(asked.kind === "ask" && !asked.required, true);
  match(asked.kind === "ask" ? asked.command ?? "" : "", /-t bookworm-backports mesa-vulkan-drivers/);
});

Deno.test("decideDriver() does not upgrade again and again where nothing newer can be had", () => {
  const version = "23.2.1-1ubuntu3.1~22.04.3";
  const aptPolicy = policy(version, version, [[version, "http://archive.ubuntu.com/ubuntu jammy-updates"]]);
  const decision = decideDriver(facts({ osRelease: ubuntu22, adapter: llvmpipe, mesaPackage: version, aptPolicy }));
  deepEqual(decision.kind === "ask" && [decision.required, decision.command], [false, null]);
});

Deno.test("planMesa() adds Debian's backports, from the mirror in use, only where all that is known is old", () => {
  deepEqual(planMesa(debian12, onlyOld), {
    source: {
      path: "/etc/apt/sources.list.d/bookworm-backports.list",
      text: "deb http://mirror.example/debian bookworm-backports main\n",
    },
    release: "bookworm-backports",
    version: null,
  });
  match(planMesa(debian12, "").source?.text ?? "", /^deb http:\/\/deb\.debian\.org\/debian bookworm-backports main/);
  const trixie = policy("(none)", "25.0.7-2", [["25.0.7-2", "http://deb.debian.org/debian trixie"]]);
  deepEqual(planMesa(debian13, trixie), { source: null, release: null, version: "25.0.7-2" });
  equal(planMesa(debian12.replaceAll("12", "11"), onlyOld).source, null);
  equal(planMesa(ubuntu22, "").source, null);
});

Deno.test("planMesa() takes backports that are there when they are newer, and apt's candidate when it is", () => {
  deepEqual(planMesa(debian12, both), { source: null, release: "bookworm-backports", version: backported[0] });
  const pinned = policy(backported[0], backported[0], [backported, old]);
  deepEqual(planMesa(debian12, pinned), { source: null, release: null, version: backported[0] });
});

Deno.test("planMesa() compares versions by number, not by letter", () => {
  const hundred: [string, string] = ["100.0.0-1", "http://deb.debian.org/debian bookworm-backports"];
  const nine: [string, string] = ["1:24.9.10-1", "http://deb.debian.org/debian bookworm"];
  equal(planMesa(debian12, policy("(none)", nine[0], [nine, hundred])).version, hundred[0]);
  const ten: [string, string] = ["24.10.0-1", "http://deb.debian.org/debian bookworm-backports"];
  equal(planMesa(debian12, policy("(none)", nine[0], [nine, ten])).version, ten[0]);
});
