/** Pictures of one column: one stack of networks, one kind of prompt. */
export interface SampleColumn {
  /** Such as `character alone`. */
  readonly name: string;
  /** What the pictures' prompts are made of; `{row}` stands for each row's text. */
  readonly prompt: string;
  /** Names of the networks that acted; none for the base alone. */
  readonly networks: readonly string[];
  readonly pictures: readonly SampledPicture[];
}

/** One sampled picture. */
export interface SampledPicture {
  readonly prompt: string;
  readonly seed: number;
  readonly width: number;
  readonly height: number;
  /** `[height, width, 3]` bytes, RGB. */
  readonly pixels: Uint8Array;
}

/** All sampled pictures, column by column. */
export interface SampleSheet {
  readonly columns: readonly SampleColumn[];
}

/** What is known of pictures before they are made. */
export interface PlannedSampleSheet {
  readonly columns:
    readonly (Pick<SampleColumn, "name" | "prompt" | "networks"> & { readonly prompts: readonly string[] })[];
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

/**
 * A column by its name.
 *
 * @param failure What cannot be done without it: `Cannot measure`.
 * @throws {Error} If there is none, naming those that there are.
 */
export function columnOf<Column extends Pick<SampleColumn, "name">>(
  columns: readonly Column[],
  name: string,
  failure: string,
): Column {
  const found = columns.find((column) => column.name === name);
  if (found) return found;
  throw new Error(
    `${failure} ${JSON.stringify(name)}: the samples have ${columns.map((each) => each.name).join(", ")}`,
  );
}
