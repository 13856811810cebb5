import { fileURLToPath } from "node:url";

const path = (name: string) => fileURLToPath(new URL(`../../assets/toy/${name}`, import.meta.url));

/** Paths of the small base model and its pictures, which come with the project: what demo, examples and tests start from. */
export const toy = {
  /** A Diffusers folder of SD v1.5's own kind. */
  base: path("base"),
  /** Pictures of one person, in all kinds of clothes. */
  character: path("demo/character"),
  /** Pictures of one outfit, on all kinds of people. */
  outfit: path("demo/outfit"),
  /** Regularization pictures: other people. */
  priors: path("demo/regularization"),
  /** What `measureRetention` reads: the cells that character and outfit decide. */
  regions: path("demo/regions.json"),
} as const;
