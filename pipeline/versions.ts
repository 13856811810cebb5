import project from "../deno.json" with { type: "json" };

/** Versions of what runs here, and the system: what decides the bits of a run beside its inputs and the adapter. */
export function versions(): { dualora: string; deno: string; v8: string; system: string } {
  const { os, arch } = Deno.build;
  return { dualora: project.version, deno: Deno.version.deno, v8: Deno.version.v8, system: `${os} ${arch}` };
}
