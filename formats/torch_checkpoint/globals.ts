import type { ElementType } from "../element_types.ts";
import { Fault } from "./error.ts";
import {
  PickleDict,
  PickleGlobal,
  PickleObject,
  PickleTuple,
  type PickleValue,
  StorageRef,
  TensorRef,
} from "./values.ts";

const storageTypes: Readonly<Record<string, ElementType>> = {
  DoubleStorage: "F64",
  FloatStorage: "F32",
  HalfStorage: "F16",
  BFloat16Storage: "BF16",
  LongStorage: "I64",
  IntStorage: "I32",
  ShortStorage: "I16",
  CharStorage: "I8",
  ByteStorage: "U8",
  BoolStorage: "BOOL",
};

type Call = (args: readonly PickleValue[], path: string) => PickleValue;

/** Functions and classes whose result matters. */
const calls: Readonly<Record<string, Call>> = {
  "collections.OrderedDict": orderedDict,
  "torch.Size": ([items]) => items instanceof PickleTuple ? items : new PickleTuple(Array.isArray(items) ? items : []),
  "torch._utils._rebuild_tensor": (args, path) => rebuildTensor(args, path, 4),
  "torch._utils._rebuild_tensor_v2": (args, path) => rebuildTensor(args, path, 6),
  "torch._utils._rebuild_parameter": (args, path) => tensorIn(args[0], path),
  "torch._utils._rebuild_parameter_with_state": (args, path) => tensorIn(args[0], path),
  "torch._tensor._rebuild_from_type_v2": rebuildFromType,
};

/** Names of what is harmless and not needed: objects of them become placeholders. */
const inert = new Set([
  ...["__builtin__", "builtins"].flatMap((module) =>
    ["set", "frozenset", "bytearray", "complex"].map((member) => `${module}.${member}`)
  ),
  "collections.Counter",
  "collections.defaultdict",
  "_codecs.encode",
  "numpy.dtype",
  "numpy.ndarray",
  ...["numpy.core.multiarray", "numpy._core.multiarray"].flatMap((
    module,
  ) => [`${module}.scalar`, `${module}._reconstruct`]),
  "torch.device",
  "torch.Tensor",
  "torch.nn.parameter.Parameter",
  ..."bool uint8 int8 int16 int32 int64 float16 float32 float64 bfloat16 complex64 complex128".split(" ")
    .map((dtype) => `torch.${dtype}`),
]);

const lightningModule = /^(pytorch_lightning|lightning|lightning_fabric)(\.\w+)*$/u;
const identifier = /^[A-Za-z_]\w*$/u;

/** A Python function or class of the pickle, if it is on the list of what is known to be harmless. */
export function resolveGlobal(module: string, member: string): PickleGlobal {
  const found = new PickleGlobal(module, member), { path } = found;
  const isKnown = Object.hasOwn(calls, path) || inert.has(path) || storageTypeName(found) !== null ||
    (lightningModule.test(module) && identifier.test(member)) ||
    (module === "numpy.dtypes" && /^\w+DType$/u.test(member));
  // A name with a dot would be looked up inside what the module has imported.
  if (isKnown && identifier.test(member)) return found;
  throw unsafe(path);
}

/** The refusal of a Python function or class. */
export function unsafe(path: string): Fault {
  return new Fault(
    "unsafe_global",
    `it names ${path}, which is not needed to hold tensors and could run code; ` +
      "do not load this file in other programs, and get the model from a source you trust, best as .safetensors",
  );
}

/** What a call of a function or class gives: tensors and dicts, otherwise a placeholder. Nothing is run. */
export function callGlobal(called: PickleGlobal, args: readonly PickleValue[]): PickleValue {
  const call = Object.hasOwn(calls, called.path) ? calls[called.path] : null;
  return call ? call(args, called.path) : new PickleObject(called);
}

/** Reads what stands for a storage: `("storage", type, key, location, count)` and in older files the view. */
export function readStorageId(id: PickleValue): StorageRef {
  const items = id instanceof PickleTuple ? id.items : [];
  const [kind, type, key, , count, view] = items;
  if (kind === "module") {
    throw new Fault("unsupported", "it holds a whole module with its source; save its state_dict()");
  }
  const typeName = type instanceof PickleGlobal ? storageTypeName(type) : null;
  if (kind !== "storage" || typeName === null || typeof key !== "string" || typeof count !== "bigint") {
    throw new Fault("pickle", 'a storage is not declared as ("storage", type, key, location, count)');
  }
  const all = countFrom(count, "the number of elements of a storage");
  return new StorageRef({
    key,
    type: Object.hasOwn(storageTypes, typeName) ? storageTypes[typeName] : null,
    typeName,
    count: all,
    view: view == null ? { offset: 0, count: all } : readView(view, all),
  });
}

function readView(view: PickleValue, all: number): { offset: number; count: number } {
  const [, offset, count] = view instanceof PickleTuple ? view.items : [];
  if (typeof offset !== "bigint" || typeof count !== "bigint") {
    throw new Fault("pickle", "the view of a storage is not (key, offset, count)");
  }
  const part = { offset: countFrom(offset, "the offset of a view"), count: countFrom(count, "the size of a view") };
  if (part.offset + part.count <= all) return part;
  throw new Fault("bounds", `a view takes ${part.count} elements from ${part.offset} of a storage of ${all}`);
}

function countFrom(value: bigint, what: string): number {
  if (value >= 0n && value <= Number.MAX_SAFE_INTEGER) return Number(value);
  throw new Fault("bounds", `${what} is ${value}`);
}

function storageTypeName({ module, member }: PickleGlobal): string | null {
  const isTyped = (module === "torch" || module === "torch.cuda") && /^[A-Z]\w*Storage$/u.test(member);
  return isTyped || (module === "torch.storage" && member === "UntypedStorage") ? member : null;
}

function orderedDict(args: readonly PickleValue[], path: string): PickleDict {
  const dict = new PickleDict();
  if (args.length === 0) return dict;
  const [pairs] = args;
  if (!Array.isArray(pairs)) throw new Fault("pickle", `${path} is called with something else than a list of pairs`);
  for (const pair of pairs) {
    const items = Array.isArray(pair) ? pair : pair instanceof PickleTuple ? pair.items : [];
    if (items.length !== 2) throw new Fault("pickle", `${path} is called with something else than a list of pairs`);
    dict.set(checkKey(items[0]), items[1]);
  }
  return dict;
}

/** A dict's key; what Python cannot hash is refused. */
export function checkKey(key: PickleValue): PickleValue {
  if (!Array.isArray(key) && !(key instanceof PickleDict)) return key;
  throw new Fault("pickle", `a ${Array.isArray(key) ? "list" : "dict"} is the key of a dict`);
}

// (storage, offset, size, stride), and from version 2 on (requires_grad, backward_hooks) and perhaps metadata.
function rebuildTensor(args: readonly PickleValue[], path: string, count: number): TensorRef {
  const [storage, offset, size, stride, , , notes] = args;
  if (args.length < count) {
    throw new Fault("pickle", `${path} is called with ${args.length} arguments, expected ${count}`);
  }
  if (!(storage instanceof StorageRef)) throw new Fault("pickle", `${path} is called without a storage`);
  if (typeof offset !== "bigint") throw new Fault("pickle", `${path} is called with an offset that is no integer`);
  return new TensorRef(
    storage.spec,
    offset,
    integersIn(size, "size", path),
    integersIn(stride, "stride", path),
    notes instanceof PickleDict ? flagIn(notes) : null,
  );
}

/** A note of a lazily negated or conjugated tensor. */
function flagIn(notes: PickleDict): string | null {
  for (const [name, value] of notes.entries()) if (value === true) return String(name);
  return null;
}

function integersIn(value: PickleValue | undefined, what: string, path: string): bigint[] {
  const items = value instanceof PickleTuple ? value.items : null;
  if (items !== null && items.every((item) => typeof item === "bigint")) return [...items] as bigint[];
  throw new Fault("pickle", `${path} is called with a ${what} that is no tuple of integers`);
}

// (function, type, arguments, state): a tensor that had attributes of its own.
function rebuildFromType([called, , args]: readonly PickleValue[], path: string): PickleValue {
  if (!(called instanceof PickleGlobal) || !(args instanceof PickleTuple) || called.path === path) {
    throw new Fault("pickle", `${path} is called with other things than a function, a type and a tuple`);
  }
  return tensorIn(callGlobal(called, args.items), path);
}

function tensorIn(value: PickleValue | undefined, path: string): TensorRef {
  if (value instanceof TensorRef) return value;
  throw new Fault("pickle", `${path} is called without a tensor`);
}
