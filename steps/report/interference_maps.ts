import { groupInterference } from "../../lora/interference.ts";
import { groupResponse, type ModuleResponse } from "../../lora/responses.ts";
import { partName } from "../../lora/strength.ts";
import { blockOrder } from "../lora_tools/block_order.ts";
import type { MeasuredModule } from "../lora_tools/measure.ts";
import { config, toSvg } from "./plots.ts";

/** A heat map as inline SVG. */
export interface InterferenceMap {
  readonly title: string;
  readonly caption: string;
  /** What the shades stand for. */
  readonly unit: string;
  readonly svg: string;
}

/** Values whose shades a legend shows; the last stands for all above as well. */
export const shades = [0, 0.25, 0.5, 0.75, 1].map((value) => {
  const grey = Math.round(255 * (1 - value)).toString(16).padStart(2, "0");
  return { value, colour: `#${grey}${grey}${grey}` };
});

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

/** What is drawn, over the same places: a figure of the modules that lie in one. */
interface Drawn<Module> {
  readonly title: string;
  readonly unit: string;
  valueOf(modules: readonly Module[]): number | null;
}

const weightMaps: readonly Drawn<MeasuredModule>[] = [
  {
    title: "Overlap of what they read (row spaces)",
    unit: "mean cos²",
    valueOf: (modules) => groupInterference("", modules).rows,
  },
  {
    title: "Overlap of what they write (column spaces)",
    unit: "mean cos²",
    valueOf: (modules) => groupInterference("", modules).columns,
  },
  ...([0, 1] as const).map((k): Drawn<MeasuredModule> => ({
    title: `Crosstalk of ${2 - k} in ${k + 1}, by weights`,
    unit: `‖ΔW${"₂₁"[k]}V${"₁₂"[k]}‖ / ‖ΔW${"₁₂"[k]}‖`,
    valueOf: (modules) => {
      const group = groupInterference("", modules);
      return group.withoutEffect === group.modules ? null : group.crosstalk[k];
    },
  })),
];

const dataMaps = ([0, 1] as const).map((k): Drawn<ModuleResponse> => ({
  title: `Crosstalk of ${2 - k} in ${k + 1}, on data`,
  unit: `‖ΔW${"₂₁"[k]}X${"₁₂"[k]}‖ / ‖ΔW${"₁₂"[k]}X${"₁₂"[k]}‖`,
  valueOf: (modules) => groupResponse("", modules).crosstalk[k],
}));

/**
 * Heat maps of each part of the model that the modules are of, laid out by its blocks and the kinds of layers in them.
 *
 * @param responses The modules' answers to data, where they were measured.
 */
export async function interferenceMaps(
  modules: readonly MeasuredModule[],
  responses: readonly ModuleResponse[] = [],
): Promise<InterferenceMap[]> {
  const blocks = new Map(modules.map(({ name, block }) => [name, block]));
  const answers = responses.map((response) => ({ ...response, block: blocks.get(response.name)! }));
  return [
    ...await mapsOf(modules, weightMaps),
    ...answers.length === 0 ? [] : await mapsOf(answers, dataMaps),
  ];
}

async function mapsOf<Module extends { readonly name: string }>(
  modules: readonly (Module & Pick<MeasuredModule, "block">)[],
  drawn: readonly Drawn<Module>[],
): Promise<InterferenceMap[]> {
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
        const [{ column, kind }] = same;
        return { column, kind, value: valueOf(same.map(({ module }) => module)) };
      });
      const several = [...places.values()].some(({ length }) => length > 1);
      maps.push({
        title: `${title}: ${name}`,
        unit,
        caption:
          `${unit} of each module that both files have. No cell: not in both; a dash: one file changes nothing.` +
          (several ? " Layers of one kind in a block are taken together." : ""),
        svg: await heatMap(values, { unit, name, xTitle: isText ? `layer of the ${name}` : "block" }),
      });
    }
  }
  return maps;
}

interface MapCell extends MapPlace {
  readonly value: number | null;
}

/** Sides of the UNet by how their blocks' names begin; a text encoder has none. */
const sides = [["IN", "blocks down"], ["M", "middle"], ["OUT", "blocks up"]] as const;

/**
 * A figure in the four letters that a cell has room for.
 *
 * @example
 * ```ts
 * import { deepEqual } from "node:assert/strict";
 * const values = [null, 0.25, 1.5, 9.996, 27.34, 99.96, 1217.2, 9999.6, 3.4e12];
 * deepEqual(values.map(cellText), ["–", ".25", "1.50", "10.0", "27.3", "100", "1217", "1e4", "3e12"]);
 * ```
 */
export function cellText(value: number | null): string {
  if (value === null) return "–";
  if (value < 9.995) return value.toFixed(2).replace(/^0\./, ".");
  if (value < 99.95) return value.toFixed(1);
  return value < 9999.5 ? value.toFixed(0) : value.toExponential(0).replace("+", "");
}

function heatMap(
  values: readonly MapCell[],
  { unit, name, xTitle }: { readonly unit: string; readonly name: string; readonly xTitle: string },
): Promise<string> {
  const columns = [...new Set(values.map(({ column }) => column))]
    .toSorted((a, b) => blockOrder(a) - blockOrder(b) || Number(a) - Number(b));
  const kinds = [...new Set(values.map(({ kind }) => kind))].toSorted();
  const cells = values.map((cell) => ({
    ...cell,
    text: cellText(cell.value),
    shade: Math.min(1, cell.value ?? 0),
  }));
  const halves = sides.map(([start, title]) => ({ title, own: columns.filter((column) => column.startsWith(start)) }));
  const shown = columns.some((column) => halves.some(({ own }) => own.includes(column)))
    ? halves.filter(({ own }) => own.length > 0)
    : [{ title: xTitle, own: columns }];
  return toSvg({
    description: `${unit} by block and kind of layer, ${name}`,
    spacing: 10,
    hconcat: shown.map(({ title, own }, at) => {
      const x = {
        field: "column",
        type: "nominal",
        sort: own,
        title,
        // One height, so that titles of several stand on one line.
        axis: { labelAngle: -90, ticks: false, domain: false, ...shown.length > 1 ? { minExtent: 54 } : {} },
      } as const;
      const y = {
        field: "kind",
        type: "nominal",
        sort: kinds,
        scale: { domain: kinds },
        title: "layer",
        axis: at === 0 ? { ticks: false, domain: false } : null,
      } as const;
      return {
        data: { values: cells.filter(({ column }) => own.includes(column)) },
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
                scale: { domain: [0, 1], range: [shades[0].colour, shades.at(-1)!.colour] },
                // Beside the picture, so that it takes no room between its parts.
                legend: null,
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
      };
    }),
    resolve: { scale: { color: "independent", y: "independent" } },
    config,
  });
}
