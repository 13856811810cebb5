/** The bytes of a storage, wherever in the file they lie. */
export interface StoredBytes {
  readonly sizeBytes: number;
  /** Reads a part; the range must lie inside. */
  read(startBytes: number, sizeBytes: number): Promise<Uint8Array<ArrayBuffer>>;
}
