let current = "";

/** Runs `body`; nodes made in it carry `name`, under the scopes around it, in errors, printed graphs and profiles. */
export function scoped<T>(name: string, body: () => T): T {
  const outer = current;
  current = outer && name ? `${outer}.${name}` : outer || name;
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** Runs `body` under exactly this scope, as gradients do that belong to a node made earlier. */
export function atScope<T>(scope: string, body: () => T): T {
  const outer = current;
  current = scope;
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** The scope that a node made now would get. */
export function currentScope(): string {
  return current;
}
