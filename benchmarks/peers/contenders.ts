/**
 * The contenders, each at its defaults and at the best settings that we found. All stages of each run in this one process.
 * Versions stand in `packages/package.json`, what differs from the defaults in `settings`.
 */
import { randomUUID } from 'node:crypto';
import amqplib from 'amqplib';
import type pg from 'pg';
import { createBus, defineEvent } from 'waybill';
import { postgres } from 'waybill/stores/postgres';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import * as z from 'zod';
import { silent } from '../rabbitmq/contract.ts';
import { filler, workload } from '../workload.ts';
import { load } from './packages/load.ts';
import type { Stage } from './stage.ts';

export interface Contender {
  readonly name: string;
  readonly settings: string;
  /** Of the whole way, from the commit to the effect. */
  readonly guarantee: 'exactly once' | 'at least once' | 'none: not transactional';
  /** Its handler takes many messages, and writes their effects with one statement. */
  readonly sets?: boolean;
  /** false: at its defaults, where there are better settings. */
  readonly tuned?: false;
  open(stage: Stage): Promise<Opened>;
}

export interface Opened {
  send(n: number): Promise<unknown>;
  /** From now on messages are handled; told of each whose effect is there. */
  start(handled: (n: number) => void): Promise<unknown>;
  stop(): Promise<unknown>;
}

/** As large as the run's messages. */
const padding = (): string => filler(50);
const quiet = { trace() {}, debug() {}, info() {}, warn() {}, error() {}, fatal() {} };

const Placed = defineEvent('order.placed', { schema: z.object({ key: z.string(), n: z.number(), filler: z.string() }), key: (event) => event.key });
let runs = 0;

function waybill(settings: string, how: { concurrency?: number } = {}, prefetch?: number, sets?: { batch: number }): Contender {
  return {
    name: 'waybill',
    settings,
    guarantee: 'exactly once',
    sets: sets !== undefined,
    async open({ servers, pool, handlers, sending, effect, effects }) {
      const schema = `run${runs++}`;
      const transport = () => rabbitmq(servers.amqp, { system: schema, ...(prefetch !== undefined && { prefetch }) });
      const sender = (relay: 'inline' | 'off') => createBus({ service: 'shop', store: postgres(pool, { schema: `${schema}_shop` }), transport: transport(), relay, logger: silent });
      const receiver = createBus({ service: 'stock', store: postgres(handlers, { schema: `${schema}_stock` }), transport: transport(), logger: silent });
      let told = (_n: number): void => {};
      if (sets) {
        receiver.subscribeBatch(Placed, { name: 'sets', ...sets }, async (all, ctx: any) => {
          const numbers = all.map(({ n }) => n);
          await effects(ctx.tx as pg.PoolClient, numbers);
          ctx.afterCommit(() => numbers.forEach((n) => told(n)));
        });
      } else {
        receiver.subscribe(Placed, how, async ({ n }, ctx: any) => {
          await effect(ctx.tx as pg.PoolClient, n);
          ctx.afterCommit(() => told(n));
        });
      }
      // Before anything is measured: later the senders have all of the pool's connections, and a new queue takes two seconds.
      const publisher = sender('off');
      const first = sender('inline');
      await Promise.all([receiver.start(), publisher.start().then(() => first.start())]);
      await first.stop();
      const relay = sender('inline');
      return {
        send: (n) => sending(n, (client) => publisher.publish(Placed, { key: `k${n % workload.keys}`, n, filler: padding() }, { tx: client as never })),
        async start(handled) {
          told = handled;
          await relay.start();
        },
        stop: () => Promise.all([publisher.stop(), relay.stop(), receiver.stop()]),
      };
    },
  };
}

function pgBoss(settings: string, workers: number, how: object, sets = false): Contender {
  return {
    name: 'pg-boss',
    settings,
    guarantee: 'at least once',
    sets,
    async open({ servers, handlers, sending, effect, effects }) {
      const { PgBoss } = await load('pg-boss');
      const boss = new PgBoss({ connectionString: servers.postgres, schema: `boss${runs++}`, max: 10 });
      boss.on('error', () => {});
      await boss.start();
      await boss.createQueue('d');
      return {
        send: (n) => sending(n, (client) => boss.send('d', { n, filler: padding() }, { db: { executeSql: (text: string, values: unknown[]) => client.query(text, values) } })),
        async start(handled) {
          for (let i = 0; i < workers; i++) {
            await boss.work('d', how, async (jobs: { data: { n: number } }[]) => {
              if (sets) {
                await effects(handlers, jobs.map(({ data }) => data.n));
                return jobs.forEach(({ data }) => handled(data.n));
              }
              await Promise.all(jobs.map(async ({ data }) => {
                await effect(handlers, data.n);
                handled(data.n);
              }));
            });
          }
        },
        stop: () => boss.stop({ graceful: false }),
      };
    },
  };
}

function graphileWorker(settings: string, preset: object, how: object): Contender {
  return {
    name: 'graphile-worker',
    settings,
    guarantee: 'at least once',
    async open({ servers, handlers, sending, effect }) {
      const { Logger, run, runMigrations } = await load('graphile-worker');
      const schema = `graphile${runs++}`;
      const base = { connectionString: servers.postgres, schema, logger: new Logger(() => () => {}), noHandleSignals: true };
      await runMigrations(base);
      let runner: { stop(): Promise<void> } | undefined;
      return {
        send: (n) => sending(n, (client) => client.query(`select ${schema}.add_job('placed', $1::json)`, [JSON.stringify({ n, filler: padding() })])),
        async start(handled) {
          const taskList = {
            placed: async ({ n }: { n: number }) => {
              await effect(handlers, n);
              handled(n);
            },
          };
          runner = await run({ ...base, ...how, taskList, preset: { worker: preset } });
        },
        stop: async () => runner?.stop(),
      };
    },
  };
}

function bullmq(settings: string, how: object): Contender {
  return {
    name: 'bullmq',
    settings,
    guarantee: 'none: not transactional',
    async open({ redisPort, pool, handlers, effect }) {
      const { Queue, Worker } = await load('bullmq');
      const connection = { host: '127.0.0.1', port: redisPort };
      const name = `d${runs++}`;
      const queue = new Queue(name, { connection });
      let worker: { close(): Promise<void>; on(event: string, fn: () => void): void } | undefined;
      return {
        async send(n) {
          await pool.query('update account set balance = balance + 1 where id = $1', [n % 1_000]);
          await queue.add('placed', { n, filler: padding() }, { removeOnComplete: true });
        },
        async start(handled) {
          worker = new Worker(name, async ({ data }: { data: { n: number } }) => {
            await effect(handlers, data.n);
            handled(data.n);
          }, { connection, ...how });
          worker!.on('error', () => {});
        },
        async stop() {
          await worker?.close();
          await queue.close();
        },
      };
    },
  };
}

function pgTransactionalOutbox(settings: string, how: object): Contender {
  return {
    name: 'pg-transactional-outbox',
    settings,
    guarantee: 'exactly once',
    async open({ servers, pool, handlers, sending, effect }) {
      const loaded = await load('pg-transactional-outbox');
      const peer = loaded.default ?? loaded;
      const { hostname: host, port, username: user, password, pathname } = new URL(servers.postgres);
      const config = { host, port: Number(port), user, password: decodeURIComponent(password), database: pathname.slice(1) };
      const suffix = runs++;
      const of = (box: 'outbox' | 'inbox') => ({
        outboxOrInbox: box,
        dbListenerConfig: config,
        dbHandlerConfig: config,
        settings: { dbSchema: 'public', dbTable: `${box}${suffix}`, nextMessagesFunctionName: `next_${box}${suffix}`, ...how },
      });
      for (const box of ['outbox', 'inbox'] as const) {
        const setup = { outboxOrInbox: box, database: config.database, schema: 'public', table: `${box}${suffix}`, listenerRole: user, handlerRole: user, nextMessagesName: `next_${box}${suffix}` };
        await pool.query(peer.DatabaseSetup.dropAndCreateTable(setup));
        await pool.query(peer.DatabaseSetup.createPollingFunction(setup));
        await pool.query(peer.DatabaseSetup.setupPollingIndexes(setup));
      }
      const store = { outbox: peer.initializeMessageStorage(of('outbox'), quiet), inbox: peer.initializeMessageStorage(of('inbox'), quiet) };
      const connection = await amqplib.connect(servers.amqp, { noDelay: true });
      const [confirming, consuming] = [await connection.createConfirmChannel(), await connection.createChannel()];
      const queue = `pto${suffix}`;
      await consuming.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
      await consuming.prefetch(50);
      const stops: (() => Promise<void>)[] = [];
      return {
        send: (n) =>
          sending(n, (client) =>
            store.outbox({ id: randomUUID(), aggregateType: 'order', messageType: 'placed', aggregateId: `a${n}`, payload: { n, filler: padding() }, createdAt: new Date().toISOString(), concurrency: 'parallel' }, client)),
        async start(handled) {
          const listen = (box: 'outbox' | 'inbox', handle: (message: any, client: any) => Promise<void>): void => {
            stops.push(peer.initializePollingMessageListener(of(box), { handle }, quiet)[0]);
          };
          listen('inbox', async ({ payload }, client) => {
            await effect(client, payload.n);
            handled(payload.n);
          });
          await consuming.consume(queue, (message) => {
            void (async () => {
              const client = await handlers.connect();
              try {
                await client.query('begin');
                await store.inbox(JSON.parse(message!.content.toString()), client);
                await client.query('commit');
              } finally {
                client.release();
              }
              consuming.ack(message!);
            })().catch(() => {}); // cut off by the end of the run
          });
          listen('outbox', ({ id, aggregateType, messageType, aggregateId, payload, createdAt }) =>
            new Promise((resolve, reject) => {
              const body = Buffer.from(JSON.stringify({ id, aggregateType, messageType, aggregateId, payload, createdAt, concurrency: 'parallel' }));
              confirming.sendToQueue(queue, body, { persistent: true, messageId: id }, (error) => (error ? reject(error instanceof Error ? error : new Error('not confirmed')) : resolve()));
            }));
        },
        async stop() {
          await Promise.race([Promise.all(stops.map((stop) => stop())), new Promise((resolve) => setTimeout(resolve, 3_000))]);
          await connection.close();
        },
      };
    },
  };
}

function nodeTs(settings: string, concurrency: number): Contender {
  return {
    name: '@node-ts/bus',
    settings,
    guarantee: 'none: not transactional',
    async open({ servers, pool, handlers, effect }) {
      const { Bus, handlerFor } = await load('@node-ts/bus-core');
      const loaded = await load('@node-ts/bus-rabbitmq');
      const { RabbitMqTransport } = loaded.default ?? loaded;
      class OrderPlaced {
        readonly $name = 'order.placed';
        readonly $version = 0;
        readonly n: number;
        readonly filler = padding();
        constructor(n: number) {
          this.n = n;
        }
      }
      let told = (_n: number): void => {};
      const handler = handlerFor(OrderPlaced, async ({ n }: OrderPlaced) => {
        await effect(handlers, n);
        told(n);
      });
      const bus = Bus.configure()
        .withTransport(new RabbitMqTransport({ queueName: `nodets${runs++}`, connectionString: servers.amqp }))
        .withConcurrency(concurrency)
        .withLogger(() => quiet)
        .withHandler(handler)
        .build();
      await bus.initialize();
      return {
        async send(n) {
          await pool.query('update account set balance = balance + 1 where id = $1', [n % 1_000]);
          await bus.publish(new OrderPlaced(n));
        },
        async start(handled) {
          told = handled;
          await bus.start();
        },
        async stop() {
          await bus.stop();
          await bus.dispose();
        },
      };
    },
  };
}

const atDefaults = (contender: Contender): Contender => ({ ...contender, tuned: false });

export const contenders: readonly Contender[] = [
  waybill('defaults'),
  waybill('concurrency 8, prefetch 1,600', { concurrency: 8 }, 1_600),
  waybill('a set-based handler, 1,000 at a time', {}, undefined, { batch: 1_000 }),
  atDefaults(pgTransactionalOutbox('polling, defaults', {})),
  pgTransactionalOutbox('polling, 100 each 10 ms, without its protections', { nextMessagesBatchSize: 100, nextMessagesPollingIntervalInMs: 10, enableMaxAttemptsProtection: false, enablePoisonousMessageProtection: false }),
  atDefaults(pgBoss('defaults', 1, {})),
  pgBoss('4 workers, 1,000 each 0.5 s', 4, { batchSize: 1_000, pollingIntervalSeconds: 0.5 }),
  pgBoss('4 workers, 1,000 each 0.5 s, an update for all', 4, { batchSize: 1_000, pollingIntervalSeconds: 0.5 }, true),
  atDefaults(graphileWorker('defaults', {}, {})),
  graphileWorker('concurrency 100, local queue of 500, batched completion', { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }, { concurrency: 100 }),
  atDefaults(bullmq('defaults', {})),
  bullmq('concurrency 50', { concurrency: 50 }),
  atDefaults(nodeTs('defaults', 1)),
  nodeTs('concurrency 10', 10),
];
