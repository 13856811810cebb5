import { Fault } from "./error.ts";
import { checkKey } from "./globals.ts";
import { PickleDict, PickleObject, PickleSet, type PickleValue, type StorageSpec, TensorRef } from "./values.ts";

/** The stack and the memo that the operations of a pickle work on. */
export class PickleMachine {
  /** Storages that were named, by key. */
  readonly storages = new Map<string, StorageSpec>();
  readonly #stack: PickleValue[] = [];
  /** Lengths of the stack at which a mark was set. */
  readonly #marks: number[] = [];
  // Not an array: an index is any number of 32 bits.
  readonly #memo = new Map<number, PickleValue>();

  /** Forgets all but the storages, for the next pickle of the file. */
  clear(): void {
    this.#stack.length = this.#marks.length = 0;
    this.#memo.clear();
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    this.#checkDepth(1);
    return this.#stack.pop()!;
  }

  /** Takes away the topmost value, or a mark where nothing lies on it. */
  drop(): void {
    if (this.#stack.length === this.#marks.at(-1)) this.#marks.pop();
    else this.pop();
  }

  top(): PickleValue {
    this.#checkDepth(1);
    return this.#stack.at(-1)!;
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
  }

  /** All values above the last mark, which goes too. */
  popToMark(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw new Fault("pickle", "a mark is missing");
    return this.#stack.splice(mark);
  }

  /** The last values, the topmost last. */
  popSome(count: number): PickleValue[] {
    this.#checkDepth(count);
    return this.#stack.splice(this.#stack.length - count);
  }

  remember(index: number): void {
    this.#memo.set(index, this.top());
  }

  rememberNext(): void {
    this.remember(this.#memo.size);
  }

  recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw new Fault("pickle", `nothing was stored at ${index}`);
    this.push(value);
  }

  /** Appends to the list on top. */
  append(items: readonly PickleValue[]): void {
    const list = this.top();
    // What a placeholder holds is not needed.
    if (list instanceof PickleObject) return;
    if (!Array.isArray(list)) throw new Fault("pickle", "it appends to something that is no list");
    for (const item of items) list.push(item);
  }

  /** Sets keys of the dict on top; keys and values alternate. */
  setItems(items: readonly PickleValue[]): void {
    const dict = this.top();
    if (items.length % 2 !== 0) throw new Fault("pickle", "a key has no value");
    if (dict instanceof PickleObject) return;
    if (!(dict instanceof PickleDict)) throw new Fault("pickle", "it sets a key of something that is no dict");
    for (let i = 0; i < items.length; i += 2) dict.set(checkKey(items[i]), items[i + 1]);
  }

  /** Adds to the set on top. */
  addItems(items: readonly PickleValue[]): void {
    const set = this.top();
    if (!(set instanceof PickleSet)) throw new Fault("pickle", "it adds to something that is no set");
    for (const item of items) set.items.push(item);
  }

  /** Drops the state of the object on top: dicts and tensors are whole without it, placeholders stay empty. */
  build(): void {
    this.pop();
    const target = this.top();
    if (target instanceof PickleDict || target instanceof PickleObject || target instanceof TensorRef) return;
    throw new Fault("pickle", "it gives a state to something that has none");
  }

  #checkDepth(count: number): void {
    const depth = this.#stack.length - (this.#marks.at(-1) ?? 0);
    if (depth < count) throw new Fault("pickle", "it takes a value from an empty stack");
  }
}
