import type { Hono } from 'hono';
import type { Bus } from 'waybill';
import { operations } from 'waybill/operations';
import * as z from 'zod';
import { readJson } from './http.ts';
import { Problem } from './problem.ts';

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

/** What came of hearing everything again. */
export interface Replayed {
  /** Messages that the subscription takes. */
  readonly read: number;
  /** Of these, left out: taken on before. */
  readonly known: number;
  /** Of these, applied now. */
  readonly added: number;
}

/** Whether a subscription has everything that somebody told. */
export interface Audited {
  readonly subscription: string;
  readonly source: string;
  readonly published: number;
  readonly applied: number;
  readonly pending: number;
  readonly waiting: number;
  readonly failed: number;
  readonly lost: number;
}

export const Retry = z.object({ group: z.string().min(1) });

/** What somebody who looks after the shop may ask of a service: what waits, what was given up, and to try that again. */
export function answerOperator(app: Hono, bus: Bus): void {
  const { waiting, failures, subscriptions, audit } = operations(bus);

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

  app.post('/operations/subscriptions/:name/replay', async (c) => {
    const name = c.req.param('name');
    const isKnown = (await subscriptions.list()).some((subscription) => subscription.name === name);
    if (!isKnown) throw new Problem(404, 'unknown-subscription', `This service has no subscription "${name}".`);
    const { done } = await subscriptions.replay(name, { from: 'beginning' });
    const { read, known, added } = await done;
    return c.json({ read, known, added } satisfies Replayed);
  });

  app.get('/operations/audit', async (c) => {
    const rows = await audit();
    const entries: Audited[] = rows.map(({ subscription, source, published, applied, pending, waiting: later, failed, lost }) => ({
      subscription,
      source,
      published,
      applied,
      pending,
      waiting: later,
      failed,
      lost,
    }));
    return c.json({ entries });
  });
}
