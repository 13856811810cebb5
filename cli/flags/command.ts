import { flagGroup } from "./flag.ts";

/** Flags about settings files and what the command does with all of this. */
export const commandFlags = flagGroup("Settings files and recipes", [
  {
    name: "config_file",
    type: "text",
    value: "file",
    default: null,
    from: "both",
    status: "works",
    does: "TOML file with any of these flags; tables are for order only, the command line wins",
  },
  {
    name: "output_config",
    type: "switch",
    default: false,
    from: "both",
    status: "works",
    does: "write all that differs from the defaults to --config_file, and stop",
  },
  {
    name: "print_recipe",
    type: "switch",
    default: false,
    from: "own",
    status: "works",
    does: "print the recipe as a TypeScript script that does the same run, and stop",
  },
  {
    name: "describe",
    type: "switch",
    default: false,
    from: "own",
    status: "works",
    does: "say what would be done, with steps, epochs and memory, and stop",
  },
  {
    name: "stack",
    type: "switch",
    default: false,
    from: "own",
    status: "works",
    does: "also print where in the program an error came from",
  },
]);
