import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';

/**
 * A request that cannot be fulfilled, as RFC 9457 has it. `code` is what programs match on; the sentence in `detail` says
 * what to do next.
 */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly status: ContentfulStatusCode;
  readonly code: string;
  readonly detail: string;
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(status: ContentfulStatusCode, code: string, detail: string, extra: Record<string, unknown> = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.extra = extra;
  }
}

/** Writes a problem as `application/problem+json`. */
export function problemResponse(c: Context, { status, code, detail, extra }: Problem): Response {
  const title = code.replaceAll('-', ' ').replace(/^./, (first) => first.toUpperCase());
  const body = { ...extra, type: `urn:shop:problem:${code}`, title, status, code, detail, instance: c.req.path };
  return c.body(JSON.stringify(body), status, {
    'content-type': 'application/problem+json; charset=utf-8',
    'cache-control': 'no-store',
  });
}
