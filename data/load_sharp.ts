/**
 * Loads sharp when the first picture is decoded or drawn. It is native code: a program without pictures shall not need the permission for it, nor wait
 * until it is loaded.
 */
export async function loadSharp(): Promise<typeof import("sharp").default> {
  return (await import("sharp")).default;
}
