/** How much of what a LoRA taught shows in one column's pictures: 1 is all, 0 is what the base does by itself. */
export interface RetentionColumn {
  readonly name: string;
  /** Null where the column's prompts do not ask for the character, or the base alone already has its very colours. */
  readonly identityKept: number | null;
  /** Null where the column's prompts do not ask for the outfit, or the base alone already has its very colours. */
  readonly outfitTaken: number | null;
  /** Half of the 95 % interval of either over pictures, by the jackknife; null where it was not measured, on one picture alone, or where without one picture the base has the very colours. */
  readonly identityHalf: number | null;
  readonly outfitHalf: number | null;
  readonly pictures: number;
}

/** Retention of every column. */
export interface Retention {
  readonly columns: readonly RetentionColumn[];
}
