import type { MiddlewareHandler } from 'hono';
import { Problem } from '../service/problem.ts';

/**
 * Refuses to change anything for a page of another site. A browser says where a request comes from; programs say nothing,
 * and are free to ask.
 */
export const refuseOtherSites: MiddlewareHandler = async (c, next) => {
  const isSafe = ['GET', 'HEAD', 'OPTIONS'].includes(c.req.method);
  if (!isSafe && !comesFromHere(c.req.header('sec-fetch-site'), c.req.header('origin'), c.req.header('host'))) {
    throw new Problem(403, 'other-site', 'This request comes from the page of another site.');
  }
  await next();
};

export function comesFromHere(site: string | undefined, origin: string | undefined, host: string | undefined): boolean {
  if (site !== undefined) return site === 'same-origin' || site === 'none';
  if (origin === undefined) return true;
  return URL.canParse(origin) && new URL(origin).host === host;
}
