import express, { type Express } from 'express';
import type { Bus, SqlTransaction } from 'waybill';
import { createOrder } from './create-order.ts';

export function expressApp(bus: Bus<SqlTransaction>, userOf: (token: string | undefined) => string): Express {
  const app = express();
  app.post('/orders', express.json(), async (request, response) => {
    const key = request.get('idempotency-key') ?? request.get('x-requestid');
    const { status, body, headers } = await createOrder(bus, userOf(request.get('authorization')), key, request.body);
    response.status(status).set(headers).json(body);
  });
  return app;
}
