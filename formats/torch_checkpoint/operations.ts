import { Fault } from "./error.ts";
import { callGlobal, readStorageId, resolveGlobal, unsafe } from "./globals.ts";
import type { PickleMachine } from "./machine.ts";
import type { PickleBytes } from "./pickle_bytes.ts";
import { PickleDict, PickleGlobal, PickleSet, PickleTuple, type PickleValue } from "./values.ts";

type Operation = (machine: PickleMachine, bytes: PickleBytes) => void;

const newestProtocol = 5;
const maxIntegerBytes = 1024;

/**
 * What each operation of a pickle does, by its code: those that PyTorch's `weights_only` loader knows, and what the same
 * content is written with in protocols 4 and 5. Operations on text, of protocol 0, are not among them.
 *
 * @see https://docs.python.org/3/library/pickletools.html
 */
export const operations: Readonly<Record<number, Operation>> = byCode({
  // Stack and memo.
  "(": (machine) => machine.mark(),
  "0": (machine) => machine.drop(),
  "1": (machine) => machine.popToMark(),
  "2": (machine) => machine.push(machine.top()),
  "q": (machine, bytes) => machine.remember(bytes.uint8()),
  "r": (machine, bytes) => machine.remember(bytes.uint32()),
  "\x94": (machine) => machine.rememberNext(),
  "h": (machine, bytes) => machine.recall(bytes.uint8()),
  "j": (machine, bytes) => machine.recall(bytes.uint32()),

  // Constants and numbers.
  "N": (machine) => machine.push(null),
  "\x88": (machine) => machine.push(true),
  "\x89": (machine) => machine.push(false),
  "J": (machine, bytes) => machine.push(BigInt(bytes.int32())),
  "K": (machine, bytes) => machine.push(BigInt(bytes.uint8())),
  "M": (machine, bytes) => machine.push(BigInt(bytes.uint16())),
  "\x8a": (machine, bytes) => machine.push(bytes.integer(bytes.uint8())),
  "\x8b": (machine, bytes) => machine.push(longInteger(bytes)),
  "G": (machine, bytes) => machine.push(bytes.float64()),

  // Texts and bytes.
  "U": (machine, bytes) => machine.push(bytes.text(bytes.uint8())),
  "T": (machine, bytes) => machine.push(bytes.text(bytes.uint32())),
  "X": (machine, bytes) => machine.push(bytes.text(bytes.uint32())),
  "\x8c": (machine, bytes) => machine.push(bytes.text(bytes.uint8())),
  "\x8d": (machine, bytes) => machine.push(bytes.text(bytes.uint64())),
  "C": (machine, bytes) => machine.push(bytes.take(bytes.uint8())),
  "B": (machine, bytes) => machine.push(bytes.take(bytes.uint32())),
  "\x8e": (machine, bytes) => machine.push(bytes.take(bytes.uint64())),
  "\x96": (machine, bytes) => machine.push(bytes.take(bytes.uint64())),

  // Lists, tuples, dicts, sets.
  "]": (machine) => machine.push([]),
  "a": (machine) => machine.append([machine.pop()]),
  "e": (machine) => machine.append(machine.popToMark()),
  ")": (machine) => machine.push(new PickleTuple([])),
  "t": (machine) => machine.push(new PickleTuple(machine.popToMark())),
  "\x85": (machine) => machine.push(new PickleTuple(machine.popSome(1))),
  "\x86": (machine) => machine.push(new PickleTuple(machine.popSome(2))),
  "\x87": (machine) => machine.push(new PickleTuple(machine.popSome(3))),
  "}": (machine) => machine.push(new PickleDict()),
  "s": (machine) => machine.setItems(machine.popSome(2)),
  "u": (machine) => machine.setItems(machine.popToMark()),
  "\x8f": (machine) => machine.push(new PickleSet()),
  "\x90": (machine) => machine.addItems(machine.popToMark()),
  "\x91": (machine) => machine.push(new PickleSet(machine.popToMark())),

  // Functions and classes: names, and calls of what is on the list.
  "c": (machine, bytes) => machine.push(resolveGlobal(bytes.line(), bytes.line())),
  "\x93": stackGlobal,
  "i": (machine, bytes) => machine.push(callGlobal(resolveGlobal(bytes.line(), bytes.line()), machine.popToMark())),
  "o": (machine) => {
    const [called, ...args] = machine.popToMark();
    machine.push(call(called, new PickleTuple(args)));
  },
  "R": callOnStack,
  "\x81": callOnStack,
  "\x92": (machine) => {
    machine.pop(); // arguments by name
    callOnStack(machine);
  },
  "b": (machine) => machine.build(),
  "\x82": (_, bytes) => refuseExtension(bytes.uint8()),
  "\x83": (_, bytes) => refuseExtension(bytes.uint16()),
  "\x84": (_, bytes) => refuseExtension(bytes.uint32()),
  "Q": (machine) => {
    const storage = readStorageId(machine.pop());
    machine.storages.set(storage.spec.key, storage.spec);
    machine.push(storage);
  },

  // Framing.
  "\x80": (_, bytes) => {
    const protocol = bytes.uint8();
    if (protocol > newestProtocol) throw new Fault("unsupported", `it has protocol ${protocol}, expected up to 5`);
  },
  "\x95": (_, bytes) => {
    const sizeBytes = bytes.uint64();
    if (sizeBytes > bytes.left) {
      throw new Fault("truncated", `a frame has ${sizeBytes} bytes, but ${bytes.left} are left`);
    }
  },
});

function byCode(table: Readonly<Record<string, Operation>>): Record<number, Operation> {
  return Object.fromEntries(Object.entries(table).map(([letter, operation]) => [letter.charCodeAt(0), operation]));
}

function longInteger(bytes: PickleBytes): bigint {
  const sizeBytes = bytes.int32();
  if (sizeBytes < 0) throw new Fault("pickle", `an integer has ${sizeBytes} bytes`);
  if (sizeBytes > bytes.left) {
    throw new Fault("truncated", `an integer has ${sizeBytes} bytes, but ${bytes.left} are left`);
  }
  if (sizeBytes > maxIntegerBytes) {
    throw new Fault("limit", `an integer has ${sizeBytes} bytes, expected up to ${maxIntegerBytes}`);
  }
  return bytes.integer(sizeBytes);
}

function stackGlobal(machine: PickleMachine): void {
  const [module, member] = machine.popSome(2);
  if (typeof module !== "string" || typeof member !== "string") {
    throw new Fault("pickle", "the name of a function or class is no text");
  }
  machine.push(resolveGlobal(module, member));
}

function callOnStack(machine: PickleMachine): void {
  const [called, args] = machine.popSome(2);
  machine.push(call(called, args));
}

function call(called: PickleValue | undefined, args: PickleValue): PickleValue {
  if (!(called instanceof PickleGlobal)) throw new Fault("pickle", "it calls something that is no function or class");
  if (!(args instanceof PickleTuple)) throw new Fault("pickle", `it calls ${called.path} without a tuple of arguments`);
  return callGlobal(called, args.items);
}

function refuseExtension(code: number): never {
  throw unsafe(`extension code ${code}`);
}
