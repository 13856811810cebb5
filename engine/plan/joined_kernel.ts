import type { Kernel, KernelTarget } from "../graph/kernel.ts";

/** A kernel that may run beside others in one dispatch. */
export interface KernelPart {
  readonly kernel: Kernel;
  /** A name for what each of its bindings shows: parts that read the same in the same way share the binding. */
  readonly shown: readonly string[];
  /** Its text, taken apart; null where it has what cannot be joined. */
  readonly text: KernelText | null;
}

/** Kernels as one, and of which part each of its bindings is which. */
export interface JoinedKernel {
  readonly kernel: Kernel;
  readonly bindings: readonly { readonly part: number; readonly place: number }[];
}

/** Most parts of a dispatch. */
const mostParts = 2;
/** Most characters of their texts together: what they save must be worth the time to compile them once more, which CPU adapters take long for. */
const mostCharacters = (target: KernelTarget) => target.cpu ? 6500 : 12000;
/** Workgroups that may find nothing to do where parts are of different sizes; or as many as there are others. */
const idleWorkgroups = 64;

/** A kernel's text, taken apart. */
export interface KernelText {
  readonly enabled: readonly string[];
  readonly bindings: readonly { readonly name: string; readonly access: string; readonly type: string }[];
  /** Declarations of workgroup memory. */
  readonly memory: string;
  /** All other declarations in front of `main`. */
  readonly functions: string;
  readonly workgroupSize: string;
  /** `main`'s parameters, each by the built-in value that it is. */
  readonly parameters: readonly { readonly builtin: string; readonly name: string; readonly type: string }[];
  readonly body: string;
}

const bindingLine = /^@group\(0\) @binding\(\d+\) var<storage, (\w+)> (\w+): (.+);$/gm;
const mainHead = /@compute @workgroup_size\(([^)]*)\)\s*fn main\(([^{]*)\) \{\n/;
const parameter = /@builtin\((\w+)\) (\w+): (\w+)/g;
const joinableBuiltins = new Set([
  "workgroup_id",
  "global_invocation_id",
  "local_invocation_index",
  "local_invocation_id",
  "subgroup_invocation_id",
]);

/** Takes a kernel apart; null where it has what cannot be joined: sizes of its own, or a built-in value that tells of the whole dispatch. */
export function kernelText({ wgsl, sizes }: Kernel): KernelText | null {
  const main = mainHead.exec(wgsl);
  if (sizes || !main) return null;
  const parameters = [...main[2].matchAll(parameter)].map(([, builtin, name, type]) => ({ builtin, name, type }));
  if (parameters.some(({ builtin }) => !joinableBuiltins.has(builtin))) return null;
  const head = wgsl.slice(0, main.index), lines = head.split("\n");
  const isMemory = (line: string) => line.startsWith("var<workgroup> ");
  const isOther = (line: string) => !isMemory(line) && !line.startsWith("enable ") && !line.startsWith("@group(");
  return {
    enabled: lines.filter((line) => line.startsWith("enable ")),
    bindings: [...head.matchAll(bindingLine)].map(([, access, name, type]) => ({ access, name, type })),
    memory: lines.filter(isMemory).join("\n"),
    functions: lines.filter(isOther).join("\n"),
    workgroupSize: main[1],
    parameters,
    body: wgsl.slice(main.index + main[0].length, wgsl.lastIndexOf("}")),
  };
}

/** Which of the parts' bindings a joined kernel needs: all that are written, and of those that show the same in the same way the first. */
function bindingsOf(parts: readonly KernelPart[], texts: readonly KernelText[]) {
  const places = new Map<string, number>(), bindings: { part: number; place: number }[] = [];
  const placeOf = parts.map(({ shown }, part) =>
    shown.map((name, place) => {
      const { access, type } = texts[part].bindings[place];
      const key = access === "read" ? `${type} ${name}` : `${part} ${place}`, known = places.get(key);
      if (known !== undefined) return known;
      places.set(key, bindings.length);
      return bindings.push({ part, place }) - 1;
    })
  );
  return { bindings, placeOf };
}

/** Whether the kernels can run in one dispatch, each as it would alone, and at little cost. */
export function canJoin(parts: readonly KernelPart[], target: KernelTarget): boolean {
  const characters = parts.reduce((sum, { kernel }) => sum + kernel.wgsl.length, 0);
  if (parts.length > mostParts || characters > mostCharacters(target)) return false;
  const texts = parts.map(({ text }) => text), [first] = texts;
  if (!texts.every((text) => text !== null)) return false;
  // Of a workgroup only one part runs, so all can have the same memory; several memories would leave room for fewer workgroups.
  const isAlike = texts.every(({ workgroupSize, memory }) =>
    workgroupSize === first!.workgroupSize && memory === first!.memory
  );
  if (!isAlike || bindingsOf(parts, texts).bindings.length > target.maxStorageBuffers) return false;
  const [x, y, z] = extent(parts), count = ([x, y, z]: Kernel["workgroups"]) => x * y * z;
  const busy = parts.reduce((sum, { kernel }) => sum + count(kernel.workgroups), 0);
  return z <= target.maxWorkgroupsPerDimension && x * y * z - busy <= Math.max(busy, idleWorkgroups);
}

/** Workgroups of a dispatch in which the parts follow one another along z. */
function extent(parts: readonly KernelPart[]): [number, number, number] {
  const along = (axis: number) => parts.map(({ kernel }) => kernel.workgroups[axis]);
  return [Math.max(...along(0)), Math.max(...along(1)), along(2).reduce((sum, count) => sum + count)];
}

/**
 * Kernels that `canJoin` as one. A workgroup runs the part that its place along z belongs to, and computes what it would there alone, to the bit.
 *
 * Names of the parts behind the first get an ending, so that they do not meet.
 */
export function joinKernels(parts: readonly KernelPart[], target: KernelTarget): JoinedKernel {
  const texts = parts.map(({ text }) => text!), { bindings, placeOf } = bindingsOf(parts, texts);
  const jointName = ({ part, place }: { part: number; place: number }) =>
    ending(texts[part].bindings[place].name, part);
  const declared = bindings.map((binding, at) => {
    const { access, type } = texts[binding.part].bindings[binding.place];
    return `@group(0) @binding(${at}) var<storage, ${access}> ${jointName(binding)}: ${type};`;
  });
  const builtins = new Map(texts.flatMap(({ parameters }) => parameters.map(({ builtin, type }) => [builtin, type])));
  builtins.set("workgroup_id", "vec3u");
  const workgroups = extent(parts);
  let z = 0;
  const bodies: string[] = [], functions: string[] = [];
  for (const [part, { kernel }] of parts.entries()) {
    const { bindings: own, parameters, functions: before, body } = texts[part];
    const names = new Map(own.map(({ name }, place) => [name, jointName(bindings[placeOf[part][place]])]));
    for (const [, name] of before.matchAll(/^(?:fn|const|alias|struct|var<private>) (\w+)/gm)) {
      names.set(name, ending(name, part));
    }
    const end = z + kernel.workgroups[2], group = "joint_workgroup_id";
    const conditions = [
      z > 0 ? `${group}.z >= ${z}u` : "",
      part < parts.length - 1 ? `${group}.z < ${end}u` : "",
      kernel.workgroups[0] < workgroups[0] ? `${group}.x < ${kernel.workgroups[0]}u` : "",
      kernel.workgroups[1] < workgroups[1] ? `${group}.y < ${kernel.workgroups[1]}u` : "",
    ].filter((condition) => condition).join(" && ");
    const own3d = z === 0 ? "" : ` - vec3u(0u, 0u, ${z}u)`;
    const values = parameters.map(({ builtin, name }) =>
      `let ${name} = joint_${builtin}${builtin === "workgroup_id" || builtin === "global_invocation_id" ? own3d : ""};`
    );
    // A CPU driver runs both sides of a branch, with lanes switched off, but leaves a loop.
    const opened = target.cpu
      ? `for (var turn = 0u; turn < select(0u, 1u, ${conditions}); turn++) {`
      : `if (${conditions}) {`;
    functions.push(renamed(before, names));
    bodies.push(`${opened}\n${values.join("\n")}\n${renamed(body, names)}}`);
    z = end;
  }
  const enabled = [...new Set(texts.flatMap((text) => text.enabled))];
  const wgsl = `${[...enabled, ...declared, texts[0].memory, ...functions].filter((text) => text.trim()).join("\n")}

@compute @workgroup_size(${texts[0].workgroupSize})
fn main(${[...builtins].map(([builtin, type]) => `@builtin(${builtin}) joint_${builtin}: ${type}`).join(", ")}) {
${bodies.join("\n")}
}
`;
  return { kernel: { wgsl, workgroups }, bindings };
}

function ending(name: string, part: number): string {
  return part === 0 ? name : `${name}_of_${part}`;
}

/** The text with its module's names replaced; what follows a dot is a component. */
function renamed(text: string, names: ReadonlyMap<string, string>): string {
  return text.replace(/(?<![.\w@])[a-zA-Z_]\w*/g, (name) => names.get(name) ?? name);
}
