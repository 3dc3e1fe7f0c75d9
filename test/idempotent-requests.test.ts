/** The programs of docs/idempotent-requests.md, each behind a real server. */
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createBus, type Bus, type SqlTransaction } from 'waybill';
import { memory } from 'waybill/transports/memory';
import { expressApp } from '../docs/examples/idempotent-requests/express.ts';
import { fastifyApp } from '../docs/examples/idempotent-requests/fastify.ts';
import { honoApp } from '../docs/examples/idempotent-requests/hono.ts';
import { ROOT } from './support/run.ts';

const userOf = (token: string | undefined): string => token ?? 'nobody';
type App = (bus: Bus<SqlTransaction>) => Promise<{ url: string; close(): Promise<void> }>;

const listening = async (server: Server): Promise<{ url: string; close(): Promise<void> }> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}/orders`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

const apps: Readonly<Record<string, App>> = {
  hono(bus) {
    const app = honoApp(bus, userOf);
    return listening(
      createServer((request, response) => {
        const chunks: Buffer[] = [];
        request.on('data', (chunk: Buffer) => chunks.push(chunk));
        request.on('end', () => {
          const given = { method: request.method!, headers: request.headers as Record<string, string>, body: Buffer.concat(chunks) };
          void Promise.resolve(app.fetch(new Request(`http://local${request.url}`, given))).then(async (answer) => {
            response.writeHead(answer.status, Object.fromEntries(answer.headers));
            response.end(await answer.text());
          });
        });
      }),
    );
  },
  async fastify(bus) {
    const app = fastifyApp(bus, userOf);
    await app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = app.server.address() as { port: number };
    return { url: `http://127.0.0.1:${port}/orders`, close: () => app.close() };
  },
  express: (bus) => listening(createServer(expressApp(bus, userOf))),
};

describe('a request that comes twice', () => {
  for (const [name, start] of Object.entries(apps)) {
    it(`creates one order behind ${name}, and both are answered alike`, async () => {
      await using bus = createBus({ service: 'ordering', store: 'sqlite::memory:', transport: memory() });
      await bus.transaction(async (tx) => void (await tx.query('create table orders (id text primary key, product text)')));
      const { url, close } = await start(bus);
      try {
        const post = async (key: string | undefined, json: unknown, user = 'ada', header = 'idempotency-key'): Promise<[number, any, string | null]> => {
          const headers = { 'content-type': 'application/json', authorization: user, ...(key !== undefined && { [header]: key }) };
          const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(json) });
          return [response.status, await response.json(), response.headers.get('idempotency-replayed')];
        };
        const order = { product: 'p1' };
        const [one, two] = await Promise.all([post('k1', order), post('k1', order)]);
        assert.deepEqual([one[0], two[0]], [201, 201]);
        assert.equal(one[1].orderId, two[1].orderId);
        assert.equal([one, two].filter(([, , replayed]) => replayed === 'true').length, 1);
        assert.deepEqual(await post('k1', order), [201, one[1], 'true']);
        assert.equal((await post('k1', { product: 'p2' }))[0], 422, 'another content');
        assert.notEqual((await post('k1', order, 'bob'))[1].orderId, one[1].orderId, "another user's");
        assert.equal((await post('k2', order, 'ada', 'x-requestid'))[0], 201);
        assert.equal((await post(undefined, order))[0], 400, 'no key');
        assert.equal((await post('k3', {}))[0], 400, 'no order');
        assert.equal((await post('k'.repeat(600), order))[0], 400, 'a key that is too long');
        const { rows } = await bus.transaction(async (tx) => tx.query<{ n: number }>('select count(*) as n from orders'));
        assert.equal(rows[0]!.n, 3);
      } finally {
        await close();
      }
    });
  }

  it('is told by a page that quotes the programs', async () => {
    const page = await readFile(join(ROOT, 'docs/idempotent-requests.md'), 'utf8');
    const files = ['create-order', 'hono', 'fastify', 'express'].map((file) => readFile(join(ROOT, `docs/examples/idempotent-requests/${file}.ts`), 'utf8'));
    const sources = await Promise.all(files);
    const quoted = [...page.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map((match) => match[1]!);
    assert.equal(quoted.length, 5);
    for (const block of quoted) assert.ok(sources.some((source) => source.includes(block)), block);
  });
});
