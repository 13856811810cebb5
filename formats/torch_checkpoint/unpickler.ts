import { Fault } from "./error.ts";
import { PickleMachine } from "./machine.ts";
import { operations } from "./operations.ts";
import { PickleBytes } from "./pickle_bytes.ts";
import type { PickleValue, StorageSpec } from "./values.ts";

/** More than any honest checkpoint needs: Stable Diffusion's has some 40,000 operations, with Adam's state four times so. */
const maxOperations = 2 ** 21;
const stop = ".".charCodeAt(0);

/** Reads pickles, one after another, as data: no function is run, no class made, and names that could are refused. */
export class Unpickler {
  readonly #bytes: PickleBytes;
  readonly #machine = new PickleMachine();
  #operations = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = new PickleBytes(bytes);
  }

  /** Storages that were named so far, by key. */
  get storages(): ReadonlyMap<string, StorageSpec> {
    return this.#machine.storages;
  }

  /** Where the next pickle, or what follows the last one, starts. */
  get position(): number {
    return this.#bytes.position;
  }

  /**
   * Reads the next pickle.
   *
   * @throws {Fault} If it is malformed, or names what could run code.
   */
  read(): PickleValue {
    this.#machine.clear();
    for (;;) {
      const start = this.#bytes.position;
      try {
        const code = this.#bytes.uint8();
        if (code === stop) return this.#machine.pop();
        if (++this.#operations > maxOperations) {
          throw new Fault("limit", `it has more than ${maxOperations} operations`);
        }
        const operation = operations[code];
        if (operation === undefined) {
          throw new Fault("pickle", `there is operation 0x${code.toString(16)}, which PyTorch does not write`);
        }
        operation(this.#machine, this.#bytes);
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        throw new Fault(error.kind, `at byte ${start} of the pickle: ${error.message}`, { cause: error });
      }
    }
  }
}
