import { Hono } from 'hono';
import type { Bus, SqlTransaction } from 'waybill';
import { createOrder } from './create-order.ts';

export function honoApp(bus: Bus<SqlTransaction>, userOf: (token: string | undefined) => string): Hono {
  const app = new Hono();
  app.post('/orders', async (c) => {
    const key = c.req.header('idempotency-key') ?? c.req.header('x-requestid');
    const json: unknown = await c.req.json().catch(() => undefined);
    const { status, body, headers } = await createOrder(bus, userOf(c.req.header('authorization')), key, json);
    return c.json(body, status, headers);
  });
  return app;
}
