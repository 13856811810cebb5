/** A value of an optimizer's argument: what a Python literal can be in JSON. */
export type OptimizerArgument = null | boolean | number | string | readonly OptimizerArgument[];

/** An optimizer's arguments by the names of the original's package (`--optimizer_args`). */
export type OptimizerArguments = Readonly<Record<string, OptimizerArgument>>;

/** Reads an optimizer's arguments one by one, and knows in the end which were not asked for. */
export class ArgumentReader {
  private readonly known = new Set<string>();
  private readonly steering = new Set<string>();

  /** @param optimizer Its name, for messages. */
  constructor(private readonly optimizer: string, private readonly given: OptimizerArguments) {}

  /**
   * A number.
   *
   * @param accept What it must be, in words, and whether a number is that.
   */
  number<Fallback extends number | null>(
    name: string,
    fallback: Fallback,
    accept: readonly [wanted: string, test: (value: number) => boolean] = anyNumber,
  ): number | Fallback {
    const value = this.value(name, fallback);
    if (value === null && fallback === null) return fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || !accept[1](value)) {
      throw this.wrong(name, value, accept[0]);
    }
    return value;
  }

  /** True or false. */
  boolean(name: string, fallback: boolean): boolean {
    const value = this.value(name, fallback);
    if (typeof value !== "boolean") throw this.wrong(name, value, "True or False");
    return value;
  }

  /** As many numbers as the fallback has. */
  numbers<const Numbers extends readonly number[]>(
    name: string,
    fallback: Numbers,
    accept: readonly [wanted: string, test: (value: number) => boolean],
  ): { [Place in keyof Numbers]: number } {
    const value = this.value(name, fallback);
    const isFine = Array.isArray(value) && value.length === fallback.length &&
      value.every((each) => typeof each === "number" && Number.isFinite(each) && accept[1](each));
    if (!isFine) throw this.wrong(name, value, `${fallback.length} numbers, ${accept[0]}`);
    return value as { [Place in keyof Numbers]: number };
  }

  /** An argument that may only have this value, because nothing else is there. */
  only(name: string, value: OptimizerArgument): void {
    const found = this.value(name, value);
    if (found !== value) throw this.wrong(name, found, `${pythonText(value)}, the only one that is supported`);
  }

  /** Arguments that steer PyTorch's or CUDA's work and no result: accepted, and without effect here. */
  noEffect(...names: readonly string[]): void {
    for (const name of names) {
      this.known.add(name);
      this.steering.add(name);
    }
  }

  /** Arguments that are given and have no effect. */
  get idle(): string[] {
    return Object.keys(this.given).filter((name) => this.steering.has(name));
  }

  /** @throws {TypeError} If an argument was given that nobody asked for. */
  finish(): void {
    const unknown = Object.keys(this.given).find((name) => !this.known.has(name));
    if (unknown === undefined) return;
    throw new TypeError(
      `Cannot use ${this.optimizer}: unknown argument ${unknown}; its arguments are ${[...this.known].join(", ")}`,
    );
  }

  private value(name: string, fallback: OptimizerArgument): OptimizerArgument {
    this.known.add(name);
    return Object.hasOwn(this.given, name) ? this.given[name] : fallback;
  }

  private wrong(name: string, value: OptimizerArgument, wanted: string): RangeError {
    return new RangeError(`Cannot use ${this.optimizer}: ${name} is ${pythonText(value)}, must be ${wanted}`);
  }
}

const anyNumber = ["a number", () => true] as const;

/** From 0 to below 1: a beta or a momentum. */
export const betaRange = ["from 0 to below 1", (value: number) => value >= 0 && value < 1] as const;

/** From 0 on. */
export const fromZero = ["from 0 on", (value: number) => value >= 0] as const;

/** Above 0. */
export const aboveZero = ["above 0", (value: number) => value > 0] as const;

/** The value as a user of `--optimizer_args` writes it. */
function pythonText(value: OptimizerArgument): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  return Array.isArray(value) ? `(${value.map(pythonText).join(", ")})` : JSON.stringify(value);
}
