import fc from "fast-check";
import { join } from "./mutation.ts";

/** Numbers and what is none, as a header may spell them. */
const anyNumber = fc.oneof(
  fc.nat(64).map(String),
  fc.constantFrom("-1", "1e3", "0.5", "4294967296", "9007199254740993", "18446744073709551615", "1e309", "null", '"4"'),
);
const anyList = (length: { minLength?: number; maxLength: number }) =>
  fc.array(anyNumber, length).map((numbers) => `[${numbers.join(",")}]`);
const anyName = fc.oneof(
  fc.constantFrom("a", "b", "__proto__", "constructor", "__metadata__", "", "\\u0000", "../../a"),
  fc.string({ maxLength: 4 }).map((text) => JSON.stringify(text).slice(1, -1)),
);
const anyType = fc.constantFrom("F32", "F16", "BF16", "I64", "U8", "BOOL", "f32", "F8_E4M3", "F4", "");

const anyTensor = fc.oneof(
  {
    weight: 4,
    // Tensors that fit: 16 bytes each, behind one another.
    arbitrary: fc.tuple(anyType, fc.constantFrom("[4]", "[2,2]", "[16]", "[]", "[0]", "[1,1,4]"), fc.nat(3)).map((
      [type, shape, at],
    ) => `{"dtype":"${type}","shape":${shape},"data_offsets":[${16 * at},${16 * at + 16}]}`),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(anyType, anyList({ maxLength: 4 }), anyList({ maxLength: 3 })).map((
      [type, shape, offsets],
    ) => `{"dtype":"${type}","shape":${shape},"data_offsets":${offsets}}`),
  },
  { weight: 1, arbitrary: fc.json({ maxDepth: 3 }) },
);

/** Files whose header is made of sensible and other parts, with 64 bytes of elements. */
export const anySafetensors: fc.Arbitrary<Uint8Array> = fc
  .tuple(fc.array(fc.tuple(anyName, anyTensor), { maxLength: 5 }), fc.nat(64), fc.nat(12))
  .map(([tensors, dataBytes, wrong]) => {
    const header = new TextEncoder().encode(`{${tensors.map(([name, tensor]) => `"${name}":${tensor}`).join(",")}}`);
    const length = new DataView(new ArrayBuffer(8));
    // One in twelve says a length that is not the header's.
    length.setBigUint64(0, BigInt(header.length + (wrong === 0 ? 1 : 0)), true);
    return join(new Uint8Array(length.buffer), header, new Uint8Array(dataBytes));
  });
