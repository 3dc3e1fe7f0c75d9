import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { WaybillError } from 'waybill';
import type * as z from 'zod';
import { Problem, problemResponse } from './problem.ts';

/** Bytes of a request's body: the largest that this shop understands has a few hundred. */
const BODY_BYTES_MAX = 16 * 1024;

/** Characters of a visitor's name or of a request id. */
const NAME_LENGTH_MAX = 128;

/**
 * A Hono application that refuses what is too large, and whose every error is a problem (RFC 9457).
 *
 * @param answer how it says so. Default: as JSON
 */
export function createApp(answer: (c: Context, problem: Problem) => Response | Promise<Response> = problemResponse): Hono {
  const app = new Hono();
  app.onError((error, c) => answer(c, asProblem(error)));
  app.notFound((c) => answer(c, new Problem(404, 'not-found', `There is nothing at ${c.req.path}.`)));
  app.use(
    bodyLimit({
      maxSize: BODY_BYTES_MAX,
      onError: (c) => answer(c, new Problem(413, 'body-too-large', `A body has at most ${BODY_BYTES_MAX} bytes.`)),
    }),
  );
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => {
        c.header('allow', methods.join(', '));
        return answer(c, new Problem(405, 'method-not-allowed', `${c.req.path} takes ${methods.join(' or ')}.`));
      },
    }),
  );
  return app;
}

/** The body of a request, checked. @throws Problem 415, 400 or 422 */
export async function readJson<T>(c: Context, schema: z.ZodType<T>): Promise<T> {
  const type = c.req.header('content-type') ?? '';
  if (!/^application\/json\b/i.test(type)) throw new Problem(415, 'wrong-content-type', 'Send the body as application/json.');
  let body: unknown;
  try {
    body = JSON.parse(await c.req.text());
  } catch {
    throw new Problem(400, 'malformed-json', 'The body is not JSON.');
  }
  return check(schema, body);
}

/** A value that fits its schema. @throws Problem 422 with one entry in `errors` per fault */
export function check<T>(schema: z.ZodType<T>, value: unknown): T {
  const { success, data, error } = schema.safeParse(value);
  if (success) return data;
  const errors = error.issues.slice(0, 5).map((issue) => ({ pointer: `#/${issue.path.join('/')}`, detail: issue.message }));
  const detail = errors.map(({ pointer, detail }) => `${pointer.slice(2) || 'body'}: ${detail}`).join('; ');
  throw new Problem(422, 'invalid-input', detail, { errors });
}

/** Who asks and under which number, so that a repeated request is applied once; undefined when it carries no number. */
export function requestKey(c: Context, visitorId: string): string | undefined {
  const requestId = c.req.header('x-requestid');
  return requestId === undefined ? undefined : `${visitorId}:${checkName('x-requestid', requestId)}`;
}

/** @throws Problem 400 */
export function checkName(what: string, value: string): string {
  if (value.length <= NAME_LENGTH_MAX && /^[\x21-\x7e]+$/.test(value)) return value;
  throw new Problem(400, 'invalid-header', `${what} is 1 to ${NAME_LENGTH_MAX} visible ASCII characters without spaces.`);
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (WaybillError.is(error, 'ONCE_MISMATCH')) {
    return new Problem(409, 'request-id-reused', 'This x-requestid was used for another request. Take a new one.');
  }
  console.error(error);
  return new Problem(500, 'internal', 'Something went wrong here; the log says what.');
}
