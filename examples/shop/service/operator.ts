import type { Hono } from 'hono';
import type { Bus } from 'waybill';
import { operations } from 'waybill/operations';
import * as z from 'zod';
import { readJson } from './http.ts';

/** Rows of a list at most: somebody reads them. */
const LIST_MAX = 50;

/** A message that is tried again later, or leaves later. */
export interface WaitingSeen {
  readonly subscription: string | undefined;
  readonly type: string;
  readonly key: string | undefined;
  readonly attempt: number;
  readonly attempts: number;
  readonly dueAt: string;
  readonly reason: string;
  readonly error: string | undefined;
}

/** Messages that were given up for the same cause. */
export interface GroupSeen {
  readonly group: string;
  readonly subscription: string | undefined;
  readonly type: string;
  readonly code: string;
  readonly message: string;
  readonly count: number;
}

/** What a service says at `GET /operations`. */
export interface Trouble {
  readonly waiting: readonly WaitingSeen[];
  readonly groups: readonly GroupSeen[];
}

const Retry = z.object({ group: z.string().min(1) });

/** What somebody who looks after the shop may ask of a service: what waits, what was given up, and to try that again. */
export function answerOperator(app: Hono, bus: Bus): void {
  const { waiting, failures } = operations(bus);

  app.get('/operations', async (c) => {
    const rows = await waiting.list({ limit: LIST_MAX });
    const groups = await failures.groups();
    return c.json({
      waiting: rows.map(({ subscription, type, key, attempt, attempts, due, reason, error }) => ({
        subscription,
        type,
        key,
        attempt,
        attempts,
        dueAt: due.toISOString(),
        reason,
        error: error?.message,
      })),
      groups: groups.map(({ group, subscription, type, code, message, count }) => ({ group, subscription, type, code, message, count })),
    } satisfies Trouble);
  });

  app.post('/operations/retry', async (c) => {
    const { group } = await readJson(c, Retry);
    return c.json({ retried: await failures.retry({ group }) });
  });
}
