import { deepEqual, equal } from "node:assert/strict";
import { crc32c, maskedCrc32c } from "./crc32c.ts";
import { fileVersion, scalarRecord } from "./event.ts";
import { readEvents } from "./_test_events.ts";

Deno.test("crc32c() gives RFC 3720's test values", () => {
  // Appendix B.4, read as the number that the four bytes there are in little-endian order.
  const ascending = Uint8Array.from({ length: 32 }, (_, at) => at);
  const values: [Uint8Array, number][] = [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [ascending, 0x46dd794e],
    [ascending.toReversed(), 0x113fdb5c],
    [new TextEncoder().encode("123456789"), 0xe3069283],
  ];
  for (const [bytes, expected] of values) equal(crc32c(bytes), expected);
  // Turned right by 15 bits 0x8a9136aa is 0x6d551522; plus 0xa282ead8.
  equal(maskedCrc32c(new Uint8Array(32)), (0x6d551522 + 0xa282ead8) % 2 ** 32);
});

Deno.test("the first record is the bytes that TensorFlow writes", () => {
  // Event { wall_time: 1.0, file_version: "brain.Event:2" }: by hand, 24 bytes of data.
  const data = [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x1a, 0x0d, ...new TextEncoder().encode("brain.Event:2")];
  const bytes = fileVersion(1);
  deepEqual([...bytes.subarray(0, 8)], [24, 0, 0, 0, 0, 0, 0, 0]);
  deepEqual([...bytes.subarray(12, 36)], data);
  equal(bytes.length, 40);
});

Deno.test("records read back by the format's definition give tags, steps and values", () => {
  const file = [
    fileVersion(1700000000.5),
    scalarRecord({
      wallTime: 1700000001.25,
      step: 1,
      scalars: [{ tag: "loss/current", value: 0.125 }, { tag: "lr/ünet", value: 1e-4 }],
    }),
    scalarRecord({ wallTime: 1700000002, step: 3_000_000_000, scalars: [{ tag: "a".repeat(300), value: -2 }] }),
  ];
  deepEqual(readEvents(Uint8Array.from(file.flatMap((piece) => [...piece]))), [
    { wallTime: 1700000000.5, step: 0, version: "brain.Event:2", scalars: {} },
    { wallTime: 1700000001.25, step: 1, scalars: { "loss/current": 0.125, "lr/ünet": Math.fround(1e-4) } },
    { wallTime: 1700000002, step: 3_000_000_000, scalars: { ["a".repeat(300)]: -2 } },
  ]);
});
