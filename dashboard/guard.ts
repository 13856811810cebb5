import { createHash, timingSafeEqual } from "node:crypto";
import { getCookie, setCookie } from "hono/cookie";
import type { Context, MiddlewareHandler } from "hono";

/** Names under which a browser on this machine, or behind a tunnel to it, asks for the page. */
const ownNames = ["127.0.0.1", "localhost"];

/** What the page may load: what this server sends, and one script in the page itself, by its hash. */
function contentPolicy(importMap: string): string {
  const hash = createHash("sha256").update(importMap).digest("base64");
  return [
    "default-src 'none'",
    `script-src 'self' 'sha256-${hash}'`,
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

/**
 * Lets through what a page of this server's own asks, in a browser that was given the token: other pages, other names for this machine (as after DNS
 * rebinding) and other users of the machine are refused.
 */
export class Guard {
  private readonly headers: Readonly<Record<string, string>>;

  /**
   * @param token Secret of this start.
   * @param importMap Text of the page's own script.
   */
  constructor(private readonly token: string, importMap: string) {
    this.headers = {
      "Content-Security-Policy": contentPolicy(importMap),
      "X-Content-Type-Options": "nosniff",
      "Referrer-Policy": "no-referrer",
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Resource-Policy": "same-origin",
      "Cache-Control": "no-store",
    };
  }

  /** For every request: the names and origin that it comes with, and what its answer may do. */
  readonly everywhere: MiddlewareHandler = async (context, next) => {
    const problem = originProblem(context.req.raw.headers, context.req.method);
    if (problem === null) await next();
    else context.res = context.text(problem, 403);
    for (const [name, value] of Object.entries(this.headers)) context.res.headers.set(name, value);
  };

  /** For what tells of runs: the cookie that came with the address that was printed. */
  readonly visitor: MiddlewareHandler = async (context, next) => {
    if (this.isToken(getCookie(context, this.cookieName(context)))) return await next();
    return context.text(
      "Open the address that the dashboard printed in the terminal: it has a token of this start",
      401,
    );
  };

  /** For what changes something: the token also in a header, which no other page can send. */
  readonly controller: MiddlewareHandler = async (context, next) => {
    if (this.isToken(context.req.header("X-Dashboard-Token"))) return await next();
    return context.text("The token is missing: reload the page", 401);
  };

  /** Takes the token of an address, and remembers the browser. */
  admits(context: Context, token: string | undefined): boolean {
    if (!this.isToken(token)) return false;
    setCookie(context, this.cookieName(context), token!, { httpOnly: true, sameSite: "Strict", path: "/" });
    return true;
  }

  /** Browsers keep the cookies of all ports together. */
  private cookieName(context: Context): string {
    return `dualora_${new URL(context.req.url).port || "80"}`;
  }

  private isToken(text: string | undefined): boolean {
    const hash = (value: string) => createHash("sha256").update(value).digest();
    return text !== undefined && timingSafeEqual(hash(text), hash(this.token));
  }
}

/** What is wrong with where a request comes from; null if nothing is. */
function originProblem(headers: Headers, method: string): string | null {
  const host = headers.get("Host") ?? "", origin = headers.get("Origin"), site = headers.get("Sec-Fetch-Site");
  if (!ownNames.includes(host.replace(/:\d+$/, ""))) {
    return `The host is ${JSON.stringify(host)}, must be ${ownNames.join(" or ")}`;
  }
  if (origin !== null && origin !== `http://${host}`) return "Other pages may not ask this server";
  if (site !== null && !["same-origin", "none"].includes(site)) return "Other pages may not ask this server";
  if (method !== "GET" && origin === null) return "What changes something needs an Origin";
  return null;
}
