import fc from "fast-check";

/** Numbers that break readers: ends of integer types. */
const telling = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

/** A place in a file, whatever its length, as a part of 1; evenly, where fast-check would prefer the first bytes. */
const anyPlace = fc.noBias(fc.nat(2 ** 31 - 1)).map((place) => place / 2 ** 31);
const anyLength = fc.integer({ min: 1, max: 48 });

type Change = (bytes: Uint8Array) => Uint8Array;

function change<Facts>(any: fc.Arbitrary<Facts>, apply: (bytes: Uint8Array, facts: Facts) => Uint8Array) {
  return any.map((facts): Change => (bytes) => apply(bytes, facts));
}

/** Replaces `length` bytes at a place by others. */
function splice(bytes: Uint8Array, place: number, length: number, others: ArrayLike<number>): Uint8Array {
  const at = Math.floor(place * bytes.length);
  return join(bytes.subarray(0, at), others, bytes.subarray(at + length));
}

const flipBit = change(fc.tuple(anyPlace, fc.nat(7)), (bytes, [place, bit]) => {
  const at = Math.floor(place * bytes.length);
  return splice(bytes, place, 1, [bytes[at] ^ 1 << bit]);
});
const setByte = change(
  fc.tuple(anyPlace, fc.nat(255)),
  (bytes, [place, value]) => splice(bytes, place, 1, [value]),
);
const setNumber = change(
  fc.tuple(anyPlace, fc.constantFrom(...telling), fc.constantFrom(1, 2, 4, 8)),
  (bytes, [place, value, size]) => {
    return splice(bytes, place, size, new Uint8Array(new BigUint64Array([BigInt(value)]).buffer).subarray(0, size));
  },
);
const cutOut = change(fc.tuple(anyPlace, anyLength), (bytes, [place, length]) => splice(bytes, place, length, []));
const copyIn = change(fc.tuple(anyPlace, anyPlace, anyLength), (bytes, [from, to, length]) => {
  const start = Math.floor(from * bytes.length);
  return splice(bytes, to, 0, bytes.subarray(start, start + length));
});
const insert = change(
  fc.tuple(anyPlace, fc.uint8Array({ maxLength: 16 })),
  (bytes, [place, added]) => splice(bytes, place, 0, added),
);
const cutEnd = change(anyPlace, (bytes, place) => bytes.slice(0, Math.floor(place * bytes.length)));

const anyChange = fc.oneof(
  { weight: 8, arbitrary: fc.oneof(flipBit, setByte, setNumber) },
  { weight: 2, arbitrary: fc.oneof(cutOut, copyIn, insert) },
  { weight: 1, arbitrary: cutEnd },
);

/** Files with one to three changes: bits, bytes and numbers set, ranges cut, copied, inserted, the end cut off. */
export function mutated(seeds: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  return fc.tuple(fc.constantFrom(...seeds), fc.array(anyChange, { minLength: 1, maxLength: 3 })).map(
    ([seed, changes]) => changes.reduce((bytes: Uint8Array, change) => change(bytes), new Uint8Array(seed)),
  );
}

/** Bytes one after another. */
export function join(...pieces: readonly ArrayLike<number>[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    whole.set(piece, offset);
    offset += piece.length;
  }
  return whole;
}
