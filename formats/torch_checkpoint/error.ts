import { TensorFileError } from "../tensor_file.ts";

/** What is wrong with a PyTorch checkpoint. */
export type TorchFault =
  /** It names a Python function or class that is not known to be harmless. */
  | "unsafe_global"
  /** The file, or something whose length it declares, ends too early. */
  | "truncated"
  /** The archive is damaged or holds what PyTorch does not write. */
  | "zip"
  /** The pickle is malformed. */
  | "pickle"
  /** Sizes, strides or offsets reach out of the storage. */
  | "bounds"
  /** It asks for more memory or work than an honest file does. */
  | "limit"
  /** The storage of a tensor is not in the file. */
  | "missing"
  /** Understood, but not read here. */
  | "unsupported"
  /** Another kind of file. */
  | "not_checkpoint"
  /** It holds no tensors with names. */
  | "not_tensors";

/** A PyTorch checkpoint that cannot be read, or must not be trusted. */
export class TorchCheckpointError extends TensorFileError {
  override name = "TorchCheckpointError";

  constructor(
    override readonly fault: TorchFault,
    file: string,
    tensor: string | null,
    message: string,
    options?: ErrorOptions,
  ) {
    super(fault, file, tensor, message, options);
  }
}

/** What is wrong inside a part that does not know its file; the reader of the file adds the name. */
export class Fault extends Error {
  constructor(readonly kind: TorchFault, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}
