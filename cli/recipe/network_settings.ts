import { type FlagName, flagsByName, type FlagValues, type SecondFlag } from "../flags/table.ts";

/** Values that remember which of them were looked at, so that a flag without any effect can be named. */
export interface WatchedValues {
  readonly values: FlagValues;
  /** Names of the flags that were looked at so far. */
  readonly seen: ReadonlySet<FlagName>;
}

/** Watches who looks at which value. */
export function watchValues(values: FlagValues): WatchedValues {
  const seen = new Set<FlagName>();
  const watched = new Proxy(values, {
    get: (target, name) => {
      seen.add(name as FlagName);
      return target[name as FlagName];
    },
  });
  return { values: watched, seen };
}

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
