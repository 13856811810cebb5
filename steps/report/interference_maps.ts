import { type GroupInterference, groupInterference } from "../../lora/interference.ts";
import { partName } from "../../lora/strength.ts";
import { blockOrder } from "../lora_tools/block_order.ts";
import type { MeasuredModule } from "../lora_tools/measure.ts";
import { config, toSvg } from "./plots.ts";

/** A heat map as inline SVG. */
export interface InterferenceMap {
  readonly title: string;
  readonly caption: string;
  readonly svg: string;
}

/** Where a module stands in a heat map. */
export interface MapPlace {
  /** Block of the UNet as block weights name it, or layer of a text encoder. */
  readonly column: string;
  /** What the layer is in its block: `attn1_to_q`, `conv1`. */
  readonly kind: string;
}

/**
 * Where a module stands in a heat map, by kohya's name.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * deepEqual(mapPlace({ name: "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q", block: "M00" }), {
 *   column: "M00",
 *   kind: "attn1_to_q",
 * });
 * deepEqual(mapPlace({ name: "lora_te_text_model_encoder_layers_3_mlp_fc1", block: "BASE" }), { column: "03", kind: "mlp_fc1" });
 * ```
 */
export function mapPlace({ name, block }: Pick<MeasuredModule, "name" | "block">): MapPlace {
  const text = name.match(/^lora_te\d?_.*?_layers_(\d+)_(.+)$/);
  if (text) return { column: text[1].padStart(2, "0"), kind: text[2] };
  const kind = name.replace(/^lora_(unet|te\d?)_/, "")
    .replace(/^(?:(?:down|up)_blocks_\d+|mid_block)_(?:attentions|resnets)_\d+_/, "")
    .replace(/^(?:down|up)_blocks_\d+_((?:down|up)sampler)s_\d+/, "$1")
    .replace(/^transformer_blocks_\d+_/, "");
  return { column: block, kind };
}

/** What is drawn, over the same places. */
const drawn: readonly { title: string; unit: string; valueOf: (group: GroupInterference) => number | null }[] = [
  { title: "Overlap of what they read (row spaces)", unit: "mean cos²", valueOf: ({ rows }) => rows },
  { title: "Overlap of what they write (column spaces)", unit: "mean cos²", valueOf: ({ columns }) => columns },
  { title: "Crosstalk of 2 in 1", unit: "‖ΔW₂V₁‖ / ‖ΔW₁‖", valueOf: ({ crosstalk }) => crosstalk[0] },
  { title: "Crosstalk of 1 in 2", unit: "‖ΔW₁V₂‖ / ‖ΔW₂‖", valueOf: ({ crosstalk }) => crosstalk[1] },
];

/** Heat maps of each part of the model that the modules are of, laid out by its blocks and the kinds of layers in them. */
export async function interferenceMaps(modules: readonly MeasuredModule[]): Promise<InterferenceMap[]> {
  const maps: InterferenceMap[] = [];
  const parts = [...Map.groupBy(modules, ({ name }) => partName(name))].toSorted(([a], [b]) => a < b ? 1 : -1);
  for (const { title, unit, valueOf } of drawn) {
    for (const [part, inside] of parts) {
      const isText = part !== "unet", name = isText ? part.replace("_", " ") : "UNet";
      const places = Map.groupBy(
        inside.map((module) => ({ module, ...mapPlace(module) })),
        ({ column, kind }) => JSON.stringify([column, kind]),
      );
      const values = [...places.values()].map((same) => {
        const [{ column, kind }] = same, group = groupInterference(kind, same.map(({ module }) => module));
        return { column, kind, value: group.withoutEffect === group.modules ? null : valueOf(group) };
      });
      const several = [...places.values()].some(({ length }) => length > 1);
      maps.push({
        title: `${title}: ${name}`,
        caption:
          `${unit} of each module that both files have: white 0, black 1 and above. No cell: not in both; a dash: one file changes nothing.` +
          (several ? " Layers of one kind in a block are taken together." : ""),
        svg: await heatMap(values, { unit, name, xTitle: isText ? `layer of the ${name}` : "block of the UNet" }),
      });
    }
  }
  return maps;
}

interface MapCell extends MapPlace {
  readonly value: number | null;
}

function heatMap(
  values: readonly MapCell[],
  { unit, name, xTitle }: { readonly unit: string; readonly name: string; readonly xTitle: string },
): Promise<string> {
  const columns = [...new Set(values.map(({ column }) => column))]
    .toSorted((a, b) => blockOrder(a) - blockOrder(b) || Number(a) - Number(b));
  const kinds = [...new Set(values.map(({ kind }) => kind))].toSorted();
  const label = (value: number | null) => value === null ? "–" : value.toFixed(2).replace(/^0\./, ".");
  const cells = values.map((cell) => ({ ...cell, text: label(cell.value), shade: Math.min(1, cell.value ?? 0) }));
  const x = {
    field: "column",
    type: "nominal",
    sort: columns,
    title: xTitle,
    axis: { labelAngle: -90, ticks: false, domain: false },
  } as const;
  const y = {
    field: "kind",
    type: "nominal",
    sort: kinds,
    title: "layer",
    axis: { ticks: false, domain: false },
  } as const;
  return toSvg({
    description: `${unit} by block and kind of layer, ${name}`,
    data: { values: cells },
    width: { step: 29 },
    height: { step: 20 },
    layer: [
      {
        mark: { type: "rect", stroke: "#888888", strokeWidth: 0.5 },
        encoding: {
          x,
          y,
          color: {
            field: "shade",
            type: "quantitative",
            scale: { domain: [0, 1], range: ["#ffffff", "#000000"] },
            legend: {
              // Squares: a gradient would need a name that no other plot on the page has.
              type: "symbol",
              symbolType: "square",
              symbolStrokeColor: "#888888",
              values: [0, 0.25, 0.5, 0.75, 1],
              format: ".2f",
              title: unit,
              orient: "top",
            },
          },
        },
      },
      {
        mark: { type: "text", fontSize: 10 },
        encoding: {
          x,
          y,
          text: { field: "text" },
          color: { condition: { test: "datum.shade > 0.5", value: "#ffffff" }, value: "#1a1a1a" },
        },
      },
    ],
    config,
  });
}
