import { type FlagName, flagsByName, type FlagValues, type SecondFlag } from "../flags/table.ts";

/** One network's settings: network 2's are the flags that end in `_2`, and network 1's where those are unset. */
export type NetworkSettings = Pick<FlagValues, SecondFlag["name"]>;

/** The settings of one network. */
export function settingsOf(values: FlagValues, network: 1 | 2): NetworkSettings {
  if (network === 1) return values;
  return new Proxy(values, {
    get: (target, name: string) => {
      const own = flagsByName.has(`${name}_2`) ? target[`${name}_2` as FlagName] : null;
      return own ?? target[name as FlagName];
    },
  });
}

/** The flag that decides one of a network's settings: the one with `_2` where network 2 has it of its own. */
export function flagOf<Name extends SecondFlag["name"]>(values: FlagValues, network: 1 | 2, name: Name): FlagName {
  const own: string = `${name}_2`;
  return network === 2 && flagsByName.has(own) && values[own as FlagName] !== null ? own as FlagName : name;
}
