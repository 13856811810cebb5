import type { ElementType } from "../element_types.ts";

/**
 * What a pickle holds, as data alone. Python's integers are bigints and its floats numbers, so that `4` and `4.0` stay
 * apart; lists are arrays. The same object may stand in several places, and inside itself.
 */
export type PickleValue =
  | null
  | boolean
  | bigint
  | number
  | string
  | Uint8Array
  | PickleValue[]
  | PickleTuple
  | PickleDict
  | PickleSet
  | PickleGlobal
  | PickleObject
  | StorageRef
  | TensorRef;

/** A tuple, or a `torch.Size`. */
export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

/** A dict or an `OrderedDict`. */
export class PickleDict {
  #entries: Map<PickleValue, PickleValue> | null = null;

  get(key: PickleValue): PickleValue | undefined {
    return this.#entries?.get(key);
  }

  set(key: PickleValue, value: PickleValue): void {
    // Made when first needed: a few bytes of a hostile file ask for a million empty ones.
    (this.#entries ??= new Map()).set(key, value);
  }

  entries(): Iterable<[PickleValue, PickleValue]> {
    return this.#entries ?? [];
  }
}

/** A set or a frozenset. */
export class PickleSet {
  constructor(readonly items: PickleValue[] = []) {}
}

/** A Python function or class by name: only a name, nothing is imported. */
export class PickleGlobal {
  constructor(readonly module: string, readonly member: string) {}

  /** Such as `collections.OrderedDict`. */
  get path(): string {
    return `${this.module}.${this.member}`;
  }
}

/** An inert stand-in for an object of a class that is known to be harmless but not needed. What it was made from is dropped. */
export class PickleObject {
  constructor(readonly type: PickleGlobal) {}
}

/** A storage that tensors look into. */
export interface StorageSpec {
  /** Its name in the file. */
  readonly key: string;
  /** Null for a type that is not read here. */
  readonly type: ElementType | null;
  /** PyTorch's name of the type. */
  readonly typeName: string;
  /** Number of elements in the file. */
  readonly count: number;
  /** The part that is looked into: all of it, but for views of the time before PyTorch 0.4. */
  readonly view: { readonly offset: number; readonly count: number };
}

/** A {@link StorageSpec} as a value of a pickle. */
export class StorageRef {
  constructor(readonly spec: StorageSpec) {}
}

/** A tensor as the pickle declares it; nothing of it is checked against the storage yet. */
export class TensorRef {
  constructor(
    readonly storage: StorageSpec,
    /** In elements, as are the strides. */
    readonly offset: bigint,
    readonly shape: readonly bigint[],
    readonly strides: readonly bigint[],
    /** A flag of PyTorch's that changes what the bytes mean (`conj`, `neg`); such a tensor is not read here. */
    readonly flag: string | null,
  ) {}
}
