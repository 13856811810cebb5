import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { join } from "./mutation.ts";

const latin1 = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const global = (path: string) => latin1(`c${path.replace(/\.(\w+)$/, "\n$1\n")}`);
const word = (text: string) => join(latin1("X"), [text.length, 0, 0, 0], latin1(text));
const number = (value: number) => join(latin1("K"), [value]);
/** An operation and bytes that it takes for a number or a length. */
const withBytes = (code: number, count: number) =>
  fc.uint8Array({ minLength: count, maxLength: count }).map((bytes) => join([code], bytes));

/** `("storage", FloatStorage, "0", "cpu", 4)` as a storage. */
const storage = join(
  latin1("("),
  word("storage"),
  global("torch.FloatStorage"),
  word("0"),
  word("cpu"),
  number(4),
  latin1("tQ"),
);
/** A tensor of one dimension that looks into the storage; some reach out of it. */
const anyTensor = fc.tuple(fc.nat(4), fc.nat(4), fc.nat(2)).map(([offset, size, stride]) => {
  const shape = join(number(size), [0x85], number(stride), [0x85]);
  return join(
    global("torch._utils._rebuild_tensor_v2"),
    latin1("("),
    storage,
    number(offset),
    shape,
    [0x89],
    latin1("}tR"),
  );
});

/** Operations with fitting arguments, those that checkpoints consist of among them. */
const anyOperation: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.constantFrom(..."(012NRQ]ae)}tsulbo.\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94").map(latin1),
  fc.tuple(fc.constantFrom(..."qhKUC"), fc.nat(3)).map(([code, value]) => join(latin1(code), [value])),
  fc.constantFrom("a", "storage", "0", "cpu", "state_dict").map(word),
  fc.constantFrom(
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
    "torch.FloatStorage",
    "torch.QInt8Storage",
    "torch.Size",
    "collections.OrderedDict",
    "pytorch_lightning.core.Module",
    "os.system",
  ).map(global),
  anyTensor,
  fc.oneof(
    ...[[0x4a, 4], [0x47, 8], [0x72, 4], [0x8b, 4], [0x8d, 8], [0x95, 8]].map(([code, n]) => withBytes(code, n)),
  ),
);

// The golden file is five pickles and a storage of four numbers; the fourth pickle is its value.
const seed = readFileSync(
  fileURLToPath(new URL("../golden/files/checkpoints/legacy_cuda.ckpt", import.meta.url)),
);
const valueStart = 137, valueEnd = 279;

/** Checkpoints from before PyTorch 1.6 whose value is a dict made by a few sensible operations with any others between them. */
export const anyCheckpoint: fc.Arbitrary<Uint8Array> = fc
  .array(fc.oneof(anyOperation, anyTensor.map((tensor) => join(word("x"), tensor, latin1("s")))), { maxLength: 12 })
  .map((operations) => {
    const value = join([0x80, 2], latin1("}"), ...operations, latin1("."));
    // More bytes follow the storage, for those that reach out of it.
    return join(seed.subarray(0, valueStart), value, seed.subarray(valueEnd), new Uint8Array(64).fill(0x55));
  });
