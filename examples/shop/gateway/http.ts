import type { Context, Hono } from 'hono';
import * as z from 'zod';
import { readJson } from '../service/http.ts';
import { Problem } from '../service/problem.ts';
import { isCardNumber } from './card.ts';
import { MODES, type Books } from './books.ts';

const NewCard = z.object({ cardNumber: z.string().max(40) });
const NewCharge = z.object({ orderId: z.string().max(80), amountCents: z.int().min(1), token: z.string().max(80) });
const NewRefund = z.object({ orderId: z.string().max(80), amountCents: z.int().min(1), chargeId: z.string().max(80) });
export const NewMode = z.object({ mode: z.enum(MODES) });

export function gatewayApp(app: Hono, books: Books): Hono {
  app.post('/cards', async (c) => {
    const { cardNumber } = await readJson(c, NewCard);
    const digits = cardNumber.replace(/[\s-]/g, '');
    if (!isCardNumber(digits)) throw new Problem(422, 'no-card', 'This is no card number. For trying: 4242 4242 4242 4242.');
    return c.json(books.addCard(digits), 201);
  });

  app.post('/charges', async (c) => {
    const asked = await readJson(c, NewCharge);
    failWhenTold('fails');
    const charge = books.charge(asked, key(c));
    failWhenTold('charges-and-fails');
    if (charge === 'unknown-card') throw new Problem(422, 'unknown-card', 'No card goes by this token.');
    if (!charge) throw new Problem(402, 'declined', 'The card was declined.');
    return c.json(charge, 201);
  });

  app.post('/refunds', async (c) => {
    const asked = await readJson(c, NewRefund);
    failWhenTold('fails');
    return c.json(books.refund(asked, key(c)), 201);
  });

  app.get('/orders/:id', (c) => c.json(books.ofOrder(c.req.param('id'))));
  app.get('/totals', (c) => c.json(books.totals()));

  app.get('/mode', (c) => c.json({ mode: books.mode }));
  app.post('/mode', async (c) => {
    books.mode = (await readJson(c, NewMode)).mode;
    return c.json({ mode: books.mode });
  });

  function failWhenTold(mode: (typeof MODES)[number]): void {
    if (books.mode === mode) throw new Problem(503, 'gateway-fails', 'The gateway is told to fail.');
  }

  return app;
}

function key(c: Context): string | undefined {
  return c.req.header('idempotency-key');
}
