import { deepEqual, equal, notDeepEqual, ok, throws } from "node:assert/strict";
import { philox4x32, RandomStream, type Words4 } from "./philox.ts";

// The three "philox4x32 10" lines of tests/kat_vectors in Random123 1.14: counter, key, result.
const knownAnswers = [
  "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
  "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
  "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
];

Deno.test("philox4x32() gives the known answers of Random123", () => {
  for (const line of knownAnswers) {
    const words = line.split(" ").map((word) => parseInt(word, 16));
    const counter = words.slice(0, 4) as unknown as Words4;
    deepEqual(philox4x32(counter, [words[4], words[5]]), words.slice(6));
  }
});

Deno.test("RandomStream reads the blocks of its counter in order", () => {
  const seed = 0x1234_5678_9abc;
  const random = new RandomStream({ seed, stream: 5, step: 9 });
  const drawn = Array.from({ length: 8 }, () => random.nextUint32());
  const key = [0x5678_9abc, 0x1234] as const;
  deepEqual(drawn, [...philox4x32([0, 0, 9, 5], key), ...philox4x32([1, 0, 9, 5], key)]);
  const item = new RandomStream({ seed, stream: 5, step: 9, item: 3 });
  deepEqual(Array.from({ length: 4 }, () => item.nextUint32()), [...philox4x32([0, 3, 9, 5], key)]);
});

Deno.test("RandomStream differs by seed, stream, step and item; item 0 is that of none", () => {
  const draw = (seed: number, stream: number, step: number, item?: number) => {
    const random = new RandomStream({ seed, stream, step, ...(item === undefined ? {} : { item }) });
    return [random.nextUint32(), random.nextUint32()];
  };
  const first = draw(1, 2, 3);
  deepEqual(draw(1, 2, 3, 0), first);
  for (const other of [draw(2, 2, 3), draw(1 + 2 ** 32, 2, 3), draw(1, 3, 3), draw(1, 2, 4), draw(1, 2, 3, 1)]) {
    notDeepEqual(other, first);
  }
});

Deno.test("nextInteger() and nextFloat() are evenly spread", () => {
  const random = new RandomStream({ seed: 0, stream: 0, step: 0 });
  const counts = new Array<number>(7).fill(0);
  let sum = 0;
  for (let draw = 0; draw < 7000; draw++) {
    counts[random.nextInteger(7)]++;
    sum += random.nextFloat();
  }
  // A cell's standard deviation is 29, the mean's 0.0035: five of either.
  for (const count of counts) ok(Math.abs(count - 1000) < 146, `count ${count}`);
  ok(Math.abs(sum / 7000 - 0.5) < 0.0173, `mean ${sum / 7000}`);
});

Deno.test("nextNormals() are normal, independent, and the beginning of more of them", () => {
  const make = () => new RandomStream({ seed: 6, stream: 0, step: 0 });
  const drawn = [...make().nextNormals(20_001)];
  deepEqual([...make().nextNormals(7)], drawn.slice(0, 7));
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  // Deviations of the mean, of the second, third and fourth moment and of neighbours' product, of 20,001 numbers.
  const unit = 1 / Math.sqrt(20_001);
  const moments = [1, 2, 3, 4].map((power) => mean(drawn.map((value) => value ** power)));
  [0, 1, 0, 3].forEach((moment, at) => {
    const deviation = [1, Math.sqrt(2), Math.sqrt(15), Math.sqrt(96)][at] * unit;
    ok(Math.abs(moments[at] - moment) < 5 * deviation, `moment ${at + 1} is ${moments[at]}`);
  });
  ok(Math.abs(mean(drawn.slice(1).map((value, at) => value * drawn[at]))) < 5 * unit);
});

Deno.test("nextInteger() does not favour small results when the limit does not divide 2^32", () => {
  const random = new RandomStream({ seed: 3, stream: 0, step: 0 });
  let small = 0;
  for (let draw = 0; draw < 3000; draw++) small += random.nextInteger(3 * 2 ** 30) < 2 ** 30 ? 1 : 0;
  // A third is expected, with a standard deviation of 26; the remainder alone would give a half.
  ok(Math.abs(small - 1000) < 130, `${small} small`);
});

Deno.test("shuffle() keeps the items and reaches every order", () => {
  const orders = new Map<string, number>();
  for (let step = 0; step < 1200; step++) {
    const items = ["a", "b", "c"];
    new RandomStream({ seed: 4, stream: 0, step }).shuffle(items);
    deepEqual([...items].sort(), ["a", "b", "c"]);
    const order = items.join("");
    orders.set(order, (orders.get(order) ?? 0) + 1);
  }
  equal(orders.size, 6);
  for (const count of orders.values()) ok(Math.abs(count - 200) < 65, `count ${count}`);
});

Deno.test("RandomStream refuses keys and limits out of range", () => {
  throws(() => new RandomStream({ seed: -1, stream: 0, step: 0 }), /RangeError: .*seed is -1, must be an integer/);
  throws(() => new RandomStream({ seed: 0, stream: 2 ** 32, step: 0 }), /stream is 4294967296/);
  throws(() => new RandomStream({ seed: 0, stream: 0, step: 0.5 }), /step is 0.5/);
  throws(() => new RandomStream({ seed: 0, stream: 0, step: 0 }).nextInteger(0), /limit is 0/);
});
