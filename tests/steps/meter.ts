import type { CompiledProgram, Device } from "../../engine/mod.ts";
import * as d from "../../mod.ts";

/** Looks at a run's device: the most bytes that a step's reports saw on it, less what kernels' sizes take on a CPU adapter. */
export class Meter {
  readonly peaks = new Map<string, number>();
  private device: Device | null = null;
  private programs: CompiledProgram[] = [];

  /** A step that gets hold of the device. */
  readonly step = d.defineStep({
    name: "meter",
    version: 1,
    needs: { bases: d.things.bases },
    run: ({ bases: { device } }) => {
      const compile = device.compile.bind(device);
      device.compile = async (...given) => {
        const compiled = await compile(...given);
        this.programs.push(compiled);
        return compiled;
      };
      this.device = device;
    },
  });

  readonly onEvent = (event: d.RunEvent): void => {
    if (event.type === "step-started") this.programs = [];
    if (event.type !== "progress" && event.type !== "artifact" || !this.device) return;
    const sizes = this.programs.reduce((sum, program) => sum + program.sizesBytes, 0);
    const bytes = this.device.statistics.bytes - sizes;
    this.peaks.set(event.step, Math.max(bytes, this.peaks.get(event.step) ?? 0));
  };
}
