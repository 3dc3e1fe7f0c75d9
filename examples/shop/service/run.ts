import { serve, type ServerType } from '@hono/node-server';
import type { Hono } from 'hono';
import type { AddressInfo } from 'node:net';
import type { Bus, SqlTransaction } from 'waybill';
import { LEARN_MS, type FromSupervisor, type ToSupervisor } from '../supervisor/messages.ts';
import { armCrashPoint } from './crash-point.ts';
import { measure, type Measure, type Report } from './measure.ts';
import { answerOperator } from './operator.ts';
import { Problem } from './problem.ts';
import { installSwitches } from './switches.ts';

export interface Service {
  readonly bus: Bus<SqlTransaction>;
  readonly app: Hono;
  /** Before the first message: makes the service's tables. Returns the token of what it published meanwhile. */
  prepare(): Promise<string | undefined>;
  /** Ends what would keep the server open: streams, timers. */
  close?(): void;
}

/** Milliseconds for requests and handlers that are under way when the service stops. */
const DRAIN_MS = 3_000;

/** Milliseconds between two looks for connections that have become idle while the service drains. */
const LOOK_EVERY_MS = 25;

/** Starts a service of the shop, tells the supervisor (if there is one), and stops it in peace when asked. */
export async function run({ bus, app, prepare, close }: Service): Promise<void> {
  let server: ServerType | undefined;
  whenAskedToLeave(async () => {
    close?.();
    if (server) await drain(server);
    await bus.stop({ drainMs: DRAIN_MS });
  });
  armCrashPoint(bus);
  installSwitches(bus, app);
  const measured = measure(bus);
  answerQuestions(app, bus, measured);
  answerOperator(app, bus);
  learnWhenAsked(bus, measured);
  let token: string | undefined;
  try {
    token = await prepare();
    await bus.start();
    server = await listen(app);
  } catch (error) {
    sayWhy(error);
    process.exit(1);
  }
  tell({ say: 'ready', url: addressOf(server), token });
}

/** Why it does not start. What has a code comes from a system that fails, and needs no stack; anything else is our mistake. */
function sayWhy(error: unknown): void {
  if (!(error instanceof Error && 'code' in error)) console.error(error);
  else for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) console.error(cause.message);
}

/** Starts a process that has no bus. */
export async function runAlone({ name, app, close }: { name: string; app: Hono; close(): void }): Promise<void> {
  let server: ServerType | undefined;
  whenAskedToLeave(async () => {
    if (server) await drain(server);
    close();
  });
  const startedAt = new Date().toISOString();
  app.get('/health/ready', (c) => c.json({ live: true, ready: true }));
  app.get('/health/behind', (c) => c.json({ service: name, startedAt, published: 0, subscriptions: [] } satisfies Report));
  server = await listen(app);
  tell({ say: 'ready', url: addressOf(server), token: undefined });
}

/** Once, whoever asks first: the supervisor, its end, or a signal. */
function whenAskedToLeave(leave: () => Promise<void>): void {
  let leaving = false;
  const stop = (): void => {
    if (leaving) return;
    leaving = true;
    leave().then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', stop);
  // Ctrl-C reaches every process of the terminal: under a supervisor it is the supervisor that decides.
  process.on('SIGINT', () => void (process.send === undefined && stop()));
  process.on('disconnect', stop);
  process.on('message', (message: FromSupervisor) => void (message.say === 'stop' && stop()));
}

/** Says something to start.ts; to nobody when the service was started by hand. */
export function tell(message: ToSupervisor): void {
  process.send?.(message);
}

/** What every service answers about itself. */
function answerQuestions(app: Hono, bus: Bus, measured: Measure): void {
  app.get('/health/ready', async (c) => {
    const health = await bus.health();
    return c.json(health, health.ready ? 200 : 503);
  });
  app.get('/health/behind', async (c) => c.json(await measured.report()));
  app.get('/health/caught-up', async (c) => {
    const token = c.req.query('token') ?? '';
    try {
      return c.json({ caughtUp: await bus.caughtUp(token, { timeoutMs: 0 }) });
    } catch {
      throw new Problem(400, 'invalid-token', 'This token was not made by a publish.');
    }
  });
}

/** On the first day: a service is of use once it knows the catalogue, which a token stands for. */
function learnWhenAsked(bus: Bus, measured: Measure): void {
  const learn = async (token: string): Promise<void> => {
    // Without an answer the supervisor goes on after a while.
    if (!(await bus.caughtUp(token, { timeoutMs: LEARN_MS }))) return;
    measured.forgetTimes();
    tell({ say: 'learned' });
  };
  process.on('message', (message: FromSupervisor) => {
    if (message.say === 'learn') void learn(message.token).catch((error: unknown) => console.warn(error));
  });
}

async function listen(app: Hono): Promise<ServerType> {
  const port = Number(process.env['PORT'] ?? 0);
  const hostname = process.env['HOST'] ?? '127.0.0.1';
  return await new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, port, hostname }, () => resolve(server));
    server.once('error', reject);
  });
}

/** Where others of this machine reach it. */
function addressOf(server: ServerType): string {
  const { address, family, port } = server.address() as AddressInfo;
  const host = address === '0.0.0.0' || address === '::' ? '127.0.0.1' : address;
  return `http://${family === 'IPv6' && host === address ? `[${host}]` : host}:${port}`;
}

/** Takes no more requests, and lets those under way finish. */
async function drain(server: ServerType): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // A connection is kept alive for the next request of whoever opened it, also when its last one ends only now.
  const idle = setInterval(() => 'closeIdleConnections' in server && server.closeIdleConnections(), LOOK_EVERY_MS);
  const timer = setTimeout(() => 'closeAllConnections' in server && server.closeAllConnections(), DRAIN_MS);
  await closed;
  clearInterval(idle);
  clearTimeout(timer);
}
