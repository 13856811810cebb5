/** How strongly two LoRA networks answer in one layer to the inputs that it really has. */
export interface ModuleResponse {
  /** Kohya's name. */
  readonly name: string;
  /** ‖ΔW₁·X₁‖ and ‖ΔW₂·X₂‖, X_k the layer's inputs on network k's data: each network's own answer. */
  readonly own: readonly [number, number];
  /** ‖ΔW₂·X₁‖ and ‖ΔW₁·X₂‖: the other network's answer to the same inputs. */
  readonly foreign: readonly [number, number];
}

/** Answers of modules that lie together: a block, a part of the model, or all. */
export interface GroupResponse {
  readonly name: string;
  readonly modules: number;
  /** √(Σ‖ΔW₂·X₁‖² / Σ‖ΔW₁·X₁‖²), and with 1 and 2 exchanged; `null` where the divisor is 0. */
  readonly crosstalk: readonly [number | null, number | null];
}

/**
 * Sums modules up.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const one = { name: "a", own: [3, 0], foreign: [0, 2] } as const, two = { name: "b", own: [4, 0], foreign: [5, 0] } as const;
 * deepEqual(groupResponse("all", [one, two]), { name: "all", modules: 2, crosstalk: [1, null] });
 * ```
 */
export function groupResponse(name: string, modules: readonly ModuleResponse[]): GroupResponse {
  const norm = (of: (module: ModuleResponse) => number) => Math.hypot(...modules.map(of));
  const ratio = (k: 0 | 1) => {
    const own = norm((module) => module.own[k]);
    return own === 0 ? null : norm((module) => module.foreign[k]) / own;
  };
  return { name, modules: modules.length, crosstalk: [ratio(0), ratio(1)] };
}
