/**
 * dualora's ops for `bench:peers`; see `serve`.
 *
 * @module
 */
import { Device } from "../../engine/mod.ts";
import { programVersion } from "../line.ts";
import { prepareOp } from "../ops.ts";
import { serve } from "./serve.ts";

using device = await Device.open();
await serve({ peer: "dualora", version: await programVersion(), adapter: device.facts.name }, async (op, pass) => {
  // A device for each op, so that one that fails harms no other.
  const own = await Device.open();
  try {
    return { ...await prepareOp(own, op, pass), dispose: () => own.dispose() };
  } catch (error) {
    own.dispose();
    throw error;
  }
});
