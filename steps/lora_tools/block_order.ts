/** Place of a block among all, by its name as block weights have it: the text encoders, then as the UNet runs. */
export function blockOrder(name: string): number {
  return ["BASE", "IN", "M", "OUT"].findIndex((start) => name.startsWith(start)) * 100 +
    Number(name.match(/\d+$/)?.[0] ?? 0);
}
