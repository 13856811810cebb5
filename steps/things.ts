import type { LoadedBases, OpenedBases } from "./values/bases.ts";
import type { TrainingData } from "./values/training_data.ts";
import type { LatentProvider, PlannedLatents } from "./values/latents.ts";
import type { Network, PlannedNetwork } from "./values/network.ts";
import type { FreezeOptions } from "../training/phases.ts";
import type { PlannedSampleSheet, SampleSheet } from "./values/sample_sheet.ts";
import type { Retention } from "./values/retention.ts";
import type { Interference } from "./values/interference.ts";
import type { PlannedProbes, Probes } from "./values/probes.ts";
import type { Additivity } from "../training/additivity.ts";
import { thing } from "../pipeline/mod.ts";

/** The base models, on the device; planned: their configurations. */
export const bases = thing<LoadedBases, OpenedBases>();
/** Pictures and captions of each network; known before a run as well. */
export const data = thing<TrainingData, TrainingData>();
/** The pictures' latents; planned: what it takes to have them while networks train. */
export const latents = thing<LatentProvider, PlannedLatents>();
/** The network that is pretrained and then frozen, or trained beside the other. */
export const network1 = thing<Network, PlannedNetwork>();
/** The network that learns against network 1. */
export const network2 = thing<Network, PlannedNetwork>();
/** Network 2 trained without the orthogonality loss, for comparison. */
export const network2WithoutOrthogonality = thing<Network, PlannedNetwork>();
/** When network 1 trains and when orthogonality is on. */
export const freezing = thing<FreezeOptions, FreezeOptions>();
/** Pictures that the networks make, column by column. */
export const samples = thing<SampleSheet, PlannedSampleSheet>();
/** Latents with prompts of each network, that interference is measured on. */
export const probes = thing<Probes, PlannedProbes>();
/** How the networks get into each other's way in their base. */
export const interference = thing<Interference, unknown>();
/** What each LoRA taught, alone and in the stack. */
export const retention = thing<Retention, unknown>();
/** Whether the networks' changes of a prediction add up in the stack. */
export const additivity = thing<Additivity, unknown>();
