/** `deno.json` for a machine without a network: packages are those that lie in `node_modules`, and nothing is locked or fetched. */
export function projectConfig(text: string): string {
  const { lock: _, ...config } = JSON.parse(text);
  return `${JSON.stringify({ ...config, nodeModulesDir: "manual", lock: false }, null, 2)}\n`;
}

/** What was packed, by parts, and how large it is. */
export function packedText(folder: string, sizes: ReadonlyMap<string, number>): string {
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`.padStart(10);
  const parts = [...sizes].toSorted(([, a], [, b]) => b - a), total = parts.reduce((sum, [, bytes]) => sum + bytes, 0);
  return [`${folder}:`, ...parts.map(([name, bytes]) => `${mib(bytes)}  ${name}`), `${mib(total)}  in all`].join("\n");
}
