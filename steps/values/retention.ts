/** How much of what a LoRA taught shows in one column's pictures: 1 is all, 0 is what the base does by itself. */
export interface RetentionColumn {
  readonly name: string;
  /** Null where the column's prompts do not ask for the character. */
  readonly identityKept: number | null;
  /** Null where the column's prompts do not ask for the outfit. */
  readonly outfitTaken: number | null;
  /** Half of the 95 % interval of either over pictures, by the jackknife; null where it was not measured, or on one picture alone. */
  readonly identityHalf: number | null;
  readonly outfitHalf: number | null;
  readonly pictures: number;
}

/** Retention of every column. */
export interface Retention {
  readonly columns: readonly RetentionColumn[];
}
