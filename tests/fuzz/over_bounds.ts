// Takes memory as its argument says, as a case of the fuzz tests. In a process of its own: how much one ever had never falls.
import { bounded } from "./bounds.ts";

const bytes = 600 * 2 ** 20, kept: ArrayBuffer[] = [];
const cases: Readonly<Record<string, () => void>> = {
  "given back": () => void new Uint8Array(bytes).fill(1).buffer.transfer(0),
  "never touched": () => void kept.push(new ArrayBuffer(bytes)),
  "within bounds": () => void new Uint8Array(bytes / 2).fill(1).buffer.transfer(0),
};
await bounded(() => Promise.resolve(cases[Deno.args[0]]()));
