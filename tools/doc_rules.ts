import type { Violation } from "./import_rules.ts";

/** The parts of `deno doc --json` that matter here. */
export interface DocumentedModules {
  nodes: Record<string, { symbols: DocumentedSymbol[] }>;
}

interface DocumentedSymbol {
  name: string;
  declarations: (Declaration & { def?: { methods?: (Declaration & { name: string; accessibility?: string })[] } })[];
}

interface Declaration {
  kind: string;
  jsDoc?: { doc?: string };
  location: { filename: string; line: number };
}

/**
 * Finds exported symbols, and public methods of exported classes, without a doc comment. One comment serves all overloads; fields, whose
 * names and types can say enough, are free.
 */
export function findUndocumented(modules: DocumentedModules): Violation[] {
  return Object.values(modules.nodes).flatMap(({ symbols }) => symbols.flatMap(checkSymbol));
}

function checkSymbol({ name, declarations }: DocumentedSymbol): Violation[] {
  const found: Violation[] = [];
  if (!declarations.some(isDocumented)) {
    found.push(violationAt(declarations[0], `${name} is exported without a doc comment`));
  }
  for (const { kind, def } of declarations) {
    if (kind !== "class") continue;
    // What `toString` does is known from every other object.
    const methods = (def?.methods ?? []).filter((method) =>
      method.accessibility === undefined && !method.name.startsWith("[") && method.name !== "toString"
    );
    for (const [methodName, overloads] of Map.groupBy(methods, (method) => method.name)) {
      if (overloads.some(isDocumented)) continue;
      found.push(violationAt(overloads[0], `${name}.${methodName} is public without a doc comment`));
    }
  }
  return found;
}

function isDocumented({ jsDoc }: Declaration): boolean {
  return (jsDoc?.doc ?? "").trim() !== "";
}

function violationAt({ location }: Declaration, message: string): Violation {
  return { file: location.filename, line: location.line + 1, message };
}
