import { createHash, randomBytes } from 'node:crypto';
import type { Context } from 'hono';
import { getCookie, setCookie } from 'hono/cookie';
import { checkName } from '../service/http.ts';
import type { Caller } from './services.ts';

const COOKIE = 'visitor';
const YEAR_SECONDS = 365 * 24 * 60 * 60;

/**
 * Who is asking: the header `x-visitor`, else a cookie, else somebody new who gets one. Whoever knows the cookie has the
 * basket, so messages and tables carry only its digest.
 */
export function visitorOf(c: Context): string {
  const header = c.req.header('x-visitor');
  if (header !== undefined) return digest(checkName('x-visitor', header));
  const known = getCookie(c, COOKIE);
  if (known !== undefined && /^[\w-]{20,64}$/.test(known)) return digest(known);
  const secret = randomBytes(18).toString('base64url');
  setCookie(c, COOKIE, secret, { httpOnly: true, sameSite: 'Lax', path: '/', maxAge: YEAR_SECONDS });
  return digest(secret);
}

/** The visitor, and the number of this request when it has one. */
export function callerOf(c: Context): Caller {
  const requestId = c.req.header('x-requestid');
  return { visitorId: visitorOf(c), requestId: requestId === undefined ? undefined : checkName('x-requestid', requestId) };
}

function digest(secret: string): string {
  return `v-${createHash('sha256').update(secret).digest('base64url').slice(0, 24)}`;
}
