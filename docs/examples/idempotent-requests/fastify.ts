import Fastify, { type FastifyInstance } from 'fastify';
import type { Bus, SqlTransaction } from 'waybill';
import { createOrder } from './create-order.ts';

export function fastifyApp(bus: Bus<SqlTransaction>, userOf: (token: string | undefined) => string): FastifyInstance {
  const app = Fastify();
  app.post('/orders', async (request, reply) => {
    const key = request.headers['idempotency-key'] ?? request.headers['x-requestid'];
    const { status, body, headers } = await createOrder(bus, userOf(request.headers.authorization), String(key ?? ''), request.body);
    return reply.code(status).headers(headers).send(body);
  });
  return app;
}
