/** What it means for a training to go on with another value of a setting than it began with. */
export interface SettingEffect {
  /** Whether the networks become others than they would have with the first value. */
  readonly matters: boolean;
  /** What it means, as the end of a sentence. */
  readonly meaning: string;
}

const later: SettingEffect = { matters: true, meaning: "it counts from here on" };
const none: SettingEffect = { matters: false, meaning: "that changes nothing of the networks" };
const order: SettingEffect = { matters: true, meaning: "pictures come in another order from here on" };

/** Settings by their names without the network's; what is not here counts from here on. */
const effects: Readonly<Record<string, SettingEffect>> = {
  adapter: {
    matters: true,
    meaning: "the result is as good, and not equal bit by bit to what the first would have made",
  },
  seed: { matters: true, meaning: "noise and timesteps are others from here on" },
  "data.seed": order,
  "data.images": order,
  "data.pictures": order,
  "data.batchesPerEpoch": order,
  "data.batchSize": order,
  "data.resolution": { matters: true, meaning: "pictures have that size from here on" },
  precision: { matters: true, meaning: "numbers are rounded otherwise from here on" },
  f16Arithmetic: { matters: true, meaning: "numbers are rounded otherwise from here on" },
  mixedPrecision: { matters: true, meaning: "numbers are rounded otherwise from here on" },
  gradientCheckpointing: none,
  validateEveryEpochs: none,
  validateEverySteps: none,
  maxValidationBatches: none,
};

/** Settings of a length; whether they matter depends on the schedule. */
const lengths: readonly string[] = ["steps", "epochs"];

/** What another value of a setting means; see docs/outputs.md. */
export function settingEffect(name: string, settings: Readonly<Record<string, unknown>>): SettingEffect {
  const own = name.replace(/^network[12]\./, "");
  if (!lengths.includes(own)) return effects[own] ?? later;
  const { schedule = "constant", network1, network2 } = settings;
  const all = [schedule, ...[network1, network2].map((network) => Object(network).schedule ?? schedule)];
  return all.every((each) => `${each}`.startsWith("constant"))
    ? { matters: false, meaning: "the end alone is another" }
    : { matters: true, meaning: "the learning rate falls over the new length from here on" };
}
