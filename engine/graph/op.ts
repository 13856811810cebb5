import { currentCheckpoint } from "./checkpoint.ts";
import { activationFormat } from "./activations.ts";
import type { Kernel, KernelTarget } from "./kernel.ts";
import { currentScope } from "./scope.ts";
import { type Node, originOf, Tensor, variablePart } from "./tensor.ts";
import type { TensorType } from "./types.ts";

/** Input names as keys: `"bias?"` is optional, its key is `bias`. */
type Bare<Name> = Name extends `${infer Key}?` ? Key : Name;
type ByName<Names extends readonly string[], Value> =
  & { [Name in Names[number] as Name extends `${string}?` ? never : Name]: Value }
  & { [Name in Names[number] as Name extends `${string}?` ? Bare<Name> : never]: Value | null };
type Arguments<Names extends readonly string[]> = {
  [Place in keyof Names]: Names[Place] extends `${string}?` ? Tensor | null : Tensor;
};

/** What a gradient rule gives; a rule that uses its own op needs it as a written return type. */
export type Gradients = { readonly [name: string]: Tensor | null };

/** What a gradient rule gets beside the output's gradient and the inputs. */
export interface GradientContext<Names extends readonly string[], Attributes> {
  /** The op's first output. */
  readonly output: Tensor;
  readonly outputs: readonly Tensor[];
  readonly attributes: Attributes;
  /** Which inputs' gradients somebody needs; the others need not be built. */
  readonly wants: ByName<Names, boolean>;
}

/** A case that the op test runs: forward against `expect`, gradient against central differences. */
export interface Sample<Names extends readonly string[], Attributes> {
  /** Shapes of the inputs (f32, filled with fixed values in (-1, 1)), or a shape with a dtype. */
  readonly inputs: { readonly [Name in Names[number] as Bare<Name> & string]?: readonly number[] | TensorType };
  readonly attributes?: Attributes;
  /** The outputs' elements by plain, slow arithmetic, from the inputs' elements in the op's order (null where left out). */
  readonly expect: (...inputs: number[][]) => number[] | number[][];
  /** Values of some inputs, by name; the others' are random. */
  readonly values?: { readonly [Name in Names[number] as Bare<Name> & string]?: readonly number[] };
  /** Range of the random values; (-1, 1) when left out. */
  readonly range?: readonly [number, number];
  /** For integer inputs: values are drawn from 0 to below this; required when an input is u32 or i32. */
  readonly integersBelow?: number;
  /** Largest allowed difference, relative to the largest element; 1e-5 when left out. */
  readonly tolerance?: number;
  /** Input values at which outputs and gradients must still be finite; -100 and 100 when left out. */
  readonly extremes?: readonly number[];
  /** Run with the adapter's own kernels alone: a CPU driver takes minutes to compile those of a GPU at this size. */
  readonly ownKernelsOnly?: boolean;
}

/** Everything about one op, in one place. */
export interface OpDefinition<Names extends readonly string[], Attributes extends object> {
  readonly name: string;
  /** Names of the inputs, in the order of the bindings; a trailing `?` marks an optional one. */
  readonly inputs: Names;
  /** Shape rule: the outputs' types, or a TypeError that says what was and what was wanted. */
  type(inputs: ByName<Names, TensorType>, attributes: Attributes): TensorType | readonly TensorType[];
  /** The dispatch for given types on a given adapter. */
  kernel(at: KernelContext<Names, Attributes>): Kernel;
  /**
   * Gradients by the inputs from the gradient of the output (of each output, null where none, for an op with several).
   * Left out: the op has no gradient, and asking for one is an error. An input it does not name gets none.
   */
  gradient?(
    dy: Tensor,
    inputs: ByName<Names, Tensor>,
    context: GradientContext<Names, Attributes>,
  ): { readonly [Name in Names[number] as Bare<Name> & string]?: Tensor | null };
  /**
   * The same application with `addend`, of the output's shape, added to the output in the same dispatch; null where that cannot be. Gradients
   * that meet at one tensor are added this way.
   */
  withAddend?(inputs: ByName<Names, Tensor>, attributes: Attributes, addend: Tensor): Tensor | null;
  /**
   * One application that does what this one and `producer`, which makes its input `name` for it alone, do together; null where there is none.
   * The planner asks, after differentiation. The result takes this one's place: it must have the same outputs.
   */
  absorb?(name: string, producer: Application, own: Application): Application | null;
  /**
   * A kernel that does what this op does and also makes its input `name`, as `producer` would from others of this op's inputs; null where there is none.
   * It binds what `kernel` does, that input to be written. Asked when a program is compiled: on some adapters one dispatch is better than two.
   */
  kernelMaking?(name: string, producer: AnyOp, at: KernelContext<Names, Attributes>): Kernel | null;
  /**
   * How many leading inputs the kernel overwrites. They must be variables; the outputs are these variables after the
   * change, and the kernel binds inputs only, the overwritten ones as read_write.
   */
  readonly overwrites?: number;
  /** Never shares a dispatch: beside others a driver compiles its long sums to other roundings. */
  readonly runsAlone?: boolean;
  /** How many leading outputs are activations: f32, or what `storingActivations` says. */
  readonly narrows?: number;
  readonly samples: readonly Sample<Names, Attributes>[];
}

/** An op with what it is applied to. */
export interface Application {
  readonly op: AnyOp;
  /** In the order of the op's `inputs`; null where one is left out. */
  readonly inputs: readonly (Tensor | null)[];
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** What a kernel is generated from. */
export interface KernelContext<Names extends readonly string[], Attributes> {
  readonly inputs: ByName<Names, TensorType>;
  readonly outputs: readonly TensorType[];
  readonly output: TensorType;
  readonly attributes: Attributes;
  readonly target: KernelTarget;
}

/** An op as the graph, the planner and the differentiator see it. */
// deno-lint-ignore no-explicit-any
export type AnyOp = OpDefinition<any, any>;

/** A function that adds the op to the graph, with its definition at hand for tests. */
export interface OpFunction<Names extends readonly string[], Attributes extends object, Result> {
  (...args: [...Arguments<Names>, attributes?: Attributes]): Result;
  readonly definition: OpDefinition<Names, Attributes>;
}

/** Names of an op's inputs without the marks of optional ones. */
export function inputNames(op: AnyOp): string[] {
  return (op.inputs as readonly string[]).map((name) => name.replace("?", ""));
}

let nextId = 0;
let observer: ((outputs: readonly Tensor[]) => void) | null = null;

/** Runs `body` and shows the outputs of every op that it adds to the graph, in order. What `see` itself adds is not shown, and runs right behind. */
export function observing<T>(see: (outputs: readonly Tensor[]) => void, body: () => T): T {
  const outer = observer;
  observer = see;
  try {
    return body();
  } finally {
    observer = outer;
  }
}

function show(outputs: readonly Tensor[]): void {
  const see = observer;
  observer = null;
  try {
    see?.(outputs);
  } finally {
    observer = see;
  }
}

/** The id that the next node will get: nodes made from now on have it or a larger one. */
export function nextNodeId(): number {
  return nextId;
}

/** The same application of an op once more, as of now, on other tensors of the same types. */
export function repeatNode(node: Node, inputs: Node["inputs"]): Node {
  return { ...node, id: nextId++, inputs, checkpoint: null, isRepeated: true };
}

function apply(op: AnyOp, args: readonly unknown[]): Tensor[] {
  const names = inputNames(op);
  const inputs = names.map((_, place) => (args[place] ?? null) as Tensor | null);
  const attributes = (args[names.length] ?? {}) as Record<string, unknown>;
  const scope = currentScope();
  const where = `Cannot ${op.name}${scope ? ` in ${scope}` : ""}`;
  for (const [place, name] of (op.inputs as readonly string[]).entries()) {
    if (inputs[place] === null && !name.endsWith("?")) throw new TypeError(`${where}: input ${name} is missing`);
  }
  let types: readonly TensorType[];
  try {
    const found = op.type(byName(names, inputs) as never, attributes);
    types = (Array.isArray(found) ? found : [found as TensorType]).map((type, output) =>
      output < (op.narrows ?? 0) ? narrowed(type) : type
    );
  } catch (error) {
    if (error instanceof TypeError) throw new TypeError(`${where}: ${error.message}`, { cause: error });
    throw error;
  }
  checkOverwritten(op, inputs, names, where);
  const checkpoint = currentCheckpoint();
  const node: Node = { id: nextId++, op, inputs, attributes, outputs: types, scope, checkpoint, isRepeated: false };
  const outputs = types.map((type, output) => new Tensor(type, { kind: "node", node, output }));
  show(outputs);
  return outputs;
}

/** Throws unless what the op overwrites are variables, and nothing else that it is given lies in them: no buffer can be bound for reading and for writing. */
function checkOverwritten(op: AnyOp, inputs: Node["inputs"], names: readonly string[], where: string): void {
  const count = op.overwrites ?? 0;
  for (const [i, overwritten] of inputs.slice(0, count).entries()) {
    const { source } = originOf(overwritten!);
    if (source.kind !== "variable") {
      throw new TypeError(`${where}: ${names[i]} is overwritten, so it must be a variable, not a ${source.kind}`);
    }
    const own = variablePart(overwritten!)!;
    for (const [j, tensor] of inputs.entries()) {
      const other = j > i && tensor ? variablePart(tensor) : null;
      if (other?.variable !== source.variable) continue;
      const isOverwritten = j < count, meets = other.beginBytes < own.endBytes && other.endBytes > own.beginBytes;
      // Such as two windows of flat weights.
      if (isOverwritten && !meets) continue;
      const wayOut = isOverwritten
        ? `Give a variable of its own as ${names[j]}, or a window that does not meet it`
        : `Give a copy as ${names[j]}, such as scale(…, { factor: 1 })`;
      throw new TypeError(
        `${where}: ${names[i]} is overwritten, but ${
          names[j]
        } lies in the same variable, ${source.variable.name}. ${wayOut}`,
      );
    }
  }
}

/** An activation's type. In 16 bits elements may have to be stored in pairs, so what does not come in fours stays f32. */
function narrowed(type: TensorType): TensorType {
  return type.dtype === "f32" && (type.shape.at(-1) ?? 1) % 4 === 0 ? { ...type, dtype: activationFormat() } : type;
}

/** An object of values under the inputs' names. */
export function byName<Value>(names: readonly string[], values: readonly Value[]): Record<string, Value> {
  return Object.fromEntries(names.map((name, place) => [name, values[place]]));
}

/** Defines an op with one output. The result is a function of the inputs, in order, then the attributes. */
export function defineOp<const Names extends readonly string[], Attributes extends object = Record<never, never>>(
  definition: OpDefinition<Names, Attributes>,
): OpFunction<Names, Attributes, Tensor> {
  return Object.assign((...args: unknown[]) => apply(definition, args)[0], { definition });
}

/** Defines an op with several outputs. The result is a function of the inputs, in order, then the attributes. */
export function defineMultiOp<const Names extends readonly string[], Attributes extends object = Record<never, never>>(
  definition: OpDefinition<Names, Attributes>,
): OpFunction<Names, Attributes, Tensor[]> {
  return Object.assign((...args: unknown[]) => apply(definition, args), { definition });
}

/** What the op test needs to know of a function that is composed of several ops. */
export type CompositeDefinition<Names extends readonly string[], Attributes extends object> = Pick<
  OpDefinition<Names, Attributes>,
  "name" | "inputs" | "samples"
>;

/** A function of inputs, then attributes, that adds several ops to the graph and is tested as one. */
export function defineComposite<const Names extends readonly string[], Attributes extends object>(
  definition: CompositeDefinition<Names, Attributes>,
  body: (...args: [...Arguments<Names>, attributes: Attributes]) => Tensor,
): ((...args: [...Arguments<Names>, attributes: Attributes]) => Tensor) & {
  readonly definition: CompositeDefinition<Names, Attributes>;
} {
  return Object.assign((...args: [...Arguments<Names>, attributes: Attributes]) => body(...args), { definition });
}
