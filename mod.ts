/**
 * dualora: two LoRA networks for Stable Diffusion v1.5, trained side by side so that they keep apart. Typed steps, chained into recipes.
 *
 * @module
 */
export * from "./pipeline/mod.ts";
/** The kinds of values that steps hand on to each other, for steps of your own. */
export * as things from "./steps/things.ts";
export { cacheLatents, type CacheLatentsOptions } from "./steps/cache_latents.ts";
export { freezeNetwork1, type FreezeNetwork1Options } from "./steps/freeze_network_1.ts";
export { loadBases, type LoadBasesOptions } from "./steps/load_bases.ts";
export { loadPriors, type LoadPriorsOptions } from "./steps/load_priors.ts";
export { measureRetention, type MeasureRetentionOptions } from "./steps/measure_retention.ts";
export { pretrainNetwork1, type PretrainOptions } from "./steps/pretrain_network_1.ts";
export { type DreamboothFolders, readDreambooth, type ReadDreamboothOptions } from "./steps/read_dreambooth.ts";
export { type NetworkThings, sample, type SampleColumnOptions, type SampleOptions } from "./steps/sample.ts";
export { saveNetworks, type SaveNetworksOptions } from "./steps/save_networks.ts";
export {
  trainBoth,
  trainNetwork2,
  type TrainNetwork2Options,
  trainNetwork2WithoutOrthogonality,
} from "./steps/train_network_2.ts";
export { writeReport, type WriteReportOptions } from "./steps/write_report.ts";
export { showProgress } from "./cli/show_progress.ts";
