/**
 * dualora: two LoRA networks for Stable Diffusion v1.5, trained side by side so that they keep apart. Typed steps, chained into recipes.
 *
 * @module
 */
export * from "./pipeline/mod.ts";
/** The kinds of values that steps hand on to each other, for steps of your own. */
export * as things from "./steps/things.ts";
export { cacheLatents, type CacheLatentsOptions } from "./steps/cache_latents.ts";
export { debugDataset, type DebugDatasetOptions } from "./steps/debug_dataset.ts";
export { encodeLatents } from "./steps/encode_latents.ts";
export { freezeNetwork1, type FreezeNetwork1Options } from "./steps/freeze_network_1.ts";
export { loadBases, type LoadBasesOptions } from "./steps/load_bases.ts";
export { loadNetwork1, type LoadNetwork1Options } from "./steps/load_network_1.ts";
export { loadNetwork2, type LoadNetwork2Options } from "./steps/load_network_2.ts";
export { loadPriors, type LoadPriorsOptions } from "./steps/load_priors.ts";
export { measureAdditivity, type MeasureAdditivityOptions } from "./steps/measure_additivity.ts";
export { measureRetention, type MeasureRetentionOptions } from "./steps/measure_retention.ts";
export { measureInterference, type MeasureInterferenceOptions } from "./steps/measure_interference.ts";
export { probesFromData, type ProbesFromDataOptions } from "./steps/probes_from_data.ts";
export { probesFromSamples, type ProbesFromSamplesOptions } from "./steps/probes_from_samples.ts";
export {
  type ShownThings,
  writeInterferenceReport,
  type WriteInterferenceReportOptions,
} from "./steps/write_interference_report.ts";
export { projectNetwork2, type ProjectNetwork2Options } from "./steps/project_network_2.ts";
export { pretrainNetwork1 } from "./steps/pretrain_network_1.ts";
export {
  DatasetConfigError,
  type DatasetFlags,
  readDatasetConfig,
} from "./steps/dataset_config/read_dataset_config.ts";
export { readDatasets, type ReadDatasetsOptions } from "./steps/read_datasets.ts";
export { type DreamboothFolders, readDreambooth, type ReadDreamboothOptions } from "./steps/read_dreambooth.ts";
export {
  type NetworkThings,
  sample,
  type SampleColumnOptions,
  type SampleOptions,
  sampleStore,
} from "./steps/sample.ts";
export { saveNetworks, type SaveNetworksOptions } from "./steps/save_networks.ts";
export { type Network2Options, trainBoth, type TrainBothOptions } from "./steps/train_both.ts";
export { type CoupledTrainingOptions, trainNetwork2, type TrainNetwork2Options } from "./steps/train_network_2.ts";
export { trainNetwork2WithoutOrthogonality } from "./steps/train_network_2_without_orthogonality.ts";
export { type HubOptions } from "./models/checkpoint/hub.ts";
export { writeReport, type WriteReportOptions } from "./steps/write_report.ts";
export {
  type BaseNames,
  DeviceLostError,
  type LoadedBases,
  NoAdapterError,
  type OpenedBases,
  OutOfMemoryError,
} from "./steps/values/bases.ts";
export { checkOptions, type OptionNames } from "./steps/values/check_options.ts";
export { type LatentProvider, LatentStore, type OpenedLatents, type PictureLatents } from "./steps/values/latents.ts";
export {
  buildNetwork,
  type Network,
  type NetworkOptions,
  type NetworkStartOptions,
  networkStore,
  type PlannedNetwork,
} from "./steps/values/network.ts";
export { type LoraFileOptions, type LoraFormat } from "./steps/outputs/lora_files.ts";
export { type LogOptions } from "./steps/outputs/logs.ts";
export { type TrainingSampleOptions } from "./steps/outputs/samples.ts";
export { type SaveOptions } from "./steps/outputs/saving.ts";
export { DiskFullError, NotWritableError } from "./formats/write_errors.ts";
export { StateError } from "./steps/outputs/state_folder.ts";
export { type OrthogonalitySetting, type StackSetting } from "./steps/values/coupling_options.ts";
export { type PictureOptions, PictureSampler, type StackedNetwork } from "./steps/values/picture_sampler.ts";
export { type Retention, type RetentionColumn } from "./steps/values/retention.ts";
export { type SampleColumn, type SampledPicture, type SampleSheet } from "./steps/values/sample_sheet.ts";
export { toy } from "./steps/values/toy.ts";
export { type DatasetOptions, type SubsetDefaults, type SubsetOptions } from "./data/dataset_options.ts";
export { type NetworkData, type TrainingData, type TrainingDataOptions } from "./steps/values/training_data.ts";
export { type TrainAloneOptions } from "./steps/values/train_alone.ts";
export { type OwnTrainingOptions, type TrainingOptions } from "./steps/values/training_options.ts";
export { DivergedError } from "./training/not_finite.ts";
export type { StepFigures } from "./training/trainer.ts";
export { type RunnableRecipe, runRecipe, type RunRecipeOptions } from "./cli/run_recipe.ts";
export { runComparison } from "./cli/compare.ts";
export {
  type MeasuredFile,
  type MeasuredModule,
  measureLoras,
  type Measurement,
  measurementText,
  type WeightInterference,
} from "./steps/lora_tools/measure.ts";
export { interferenceHtml } from "./steps/report/interference_html.ts";
export type { InterferenceOnBase, InterferenceReport } from "./steps/report/interference_report.ts";
export type { Interference } from "./steps/values/interference.ts";
export type { Probe, Probes } from "./steps/values/probes.ts";
export type { GroupResponse, ModuleResponse } from "./lora/responses.ts";
export type { HookFigures } from "./training/interference.ts";
export type { Additivity } from "./training/additivity.ts";
export type { GroupInterference, ModuleInterference, SubspaceOverlap } from "./lora/interference.ts";
export { comparison, type ComparisonRun } from "./steps/comparison/comparison.ts";
export { type Cell } from "./steps/comparison/cell.ts";
export { type ComparisonOptions, type Variant } from "./steps/comparison/variant.ts";
export { showProgress } from "./cli/show_progress.ts";
/** Pictures side by side as a PNG, and plots as SVG, as reports have them. */
export { drawGrid, type GridOptions } from "./steps/report/grid.ts";
export { config as plotStyle, toSvg as plotSvg } from "./steps/report/plots.ts";
/** Static-graph tensors on WebGPU, for losses of your own. */
export * as engine from "./engine/mod.ts";
