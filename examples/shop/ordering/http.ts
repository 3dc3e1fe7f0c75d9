import type { Hono } from 'hono';
import type { Bus, SqlTransaction } from 'waybill';
import { OrderCancelRequested } from '../contracts/ordering.ts';
import { checkName, createApp } from '../service/http.ts';
import { Problem } from '../service/problem.ts';
import { isCancellable } from './order.ts';
import { countByStatus, lockStatus } from './orders.ts';

export function orderingApp(bus: Bus<SqlTransaction>): Hono {
  const app = createApp();

  /** Only asks: what becomes of an order that is being paid for in this moment is decided where the order is. */
  app.post('/orders/:id/cancel', async (c) => {
    const orderId = c.req.param('id');
    const visitorId = checkName('the visitor', c.req.header('x-visitor') ?? '');
    const token = await bus.transaction(async (tx) => {
      const status = await lockStatus(tx, orderId, visitorId);
      if (status === undefined) throw new Problem(404, 'unknown-order', 'Ordering knows no such order of yours yet.');
      if (!isCancellable(status))
        throw new Problem(409, 'too-late', status === 'Shipped' ? 'This order has left already.' : 'This order is cancelled.');
      return (await bus.publish(OrderCancelRequested, { orderId, visitorId }, { tx })).token;
    });
    return c.json({ orderId, token }, 202);
  });

  /** For whoever counts. */
  app.get('/orders', async (c) => c.json({ orders: await bus.transaction(countByStatus) }));

  return app;
}
