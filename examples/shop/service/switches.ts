import type { Hono } from 'hono';
import type { Bus } from 'waybill';
import * as z from 'zod';
import { readJson } from './http.ts';

/*
 * Switches that make a service fail on purpose, for whoever wants to see what becomes of it. In memory: a service that is
 * started again behaves.
 */

export interface Switches {
  /** The next so many events are thrown back by their handler. */
  readonly throwNext: number;
  /** Milliseconds that each event takes longer. */
  readonly slowMs: number;
}

export const NewSwitches = z.object({ throwNext: z.int().min(0).max(1_000).optional(), slowMs: z.int().min(0).max(10_000).optional() });

export function installSwitches(bus: Bus, app: Hono): void {
  let switches: Switches = { throwNext: 0, slowMs: 0 };

  bus.use({
    handle: async (_, next) => {
      const { throwNext, slowMs } = switches;
      if (slowMs > 0) await new Promise((resolve) => setTimeout(resolve, slowMs));
      if (throwNext > 0) {
        switches = { ...switches, throwNext: throwNext - 1 };
        throw new Error(`told to fail on the next event; ${throwNext - 1} more to come`);
      }
      return await next();
    },
  });

  app.get('/switches', (c) => c.json(switches));
  app.post('/switches', async (c) => {
    const asked = await readJson(c, NewSwitches);
    switches = { throwNext: asked.throwNext ?? switches.throwNext, slowMs: asked.slowMs ?? switches.slowMs };
    return c.json(switches);
  });
}
