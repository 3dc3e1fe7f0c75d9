import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import type { ServiceName } from '../supervisor/messages.ts';

/** Nobody who watches a test wants to wait for a parcel. */
const HASTE = { SHOP_GRACE_MS: '300', SHOP_PACKING_MS: '200' };

/** A condition that has not come true by then never will: the test fails with its name. */
const WAIT_MS = 60_000;
/** Seven processes that start on a machine where others work too. */
const OPEN_MS = 100_000;
const LOOK_EVERY_MS = 40;

export interface Asked {
  readonly visitor?: string;
  readonly requestId?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** The real shop: start.ts and its processes, on a free port and a data folder of its own. */
export interface Shop extends AsyncDisposable {
  readonly url: string;
  readonly folder: string;
  readonly pid: number;
  /** Everything that was printed; what start.ts says and what the services say are two streams, in no certain order. */
  output(): string;
  /** What start.ts itself says: its standard output. */
  said(): string;
  ask(method: string, path: string, asked?: Asked): Promise<Response>;
  /** As `ask`; the answer must be a success. */
  json<T>(method: string, path: string, asked?: Asked): Promise<T>;
  service(name: ServiceName): Promise<ServiceSeen>;
  /** Ctrl-C, and waits for the end. @returns the exit code */
  close(): Promise<number | null>;
  /** kill -9 of start.ts itself. */
  kill(): Promise<void>;
}

export interface ServiceSeen {
  readonly name: ServiceName;
  readonly answering: boolean;
  readonly state: string;
  readonly pid: number | undefined;
  readonly restarts: number;
  readonly published: number | undefined;
  readonly subscriptions: readonly {
    readonly subscription: string;
    readonly source: string;
    readonly applied: number;
    readonly duplicates: number;
    readonly stale: number;
    readonly waiting: number | undefined;
  }[];
}

export interface BasketSeen {
  readonly lines: readonly {
    readonly productId: string;
    readonly name: string;
    readonly quantity: number;
    readonly unitPrice: number;
    readonly priceWhenAdded: number;
    readonly asOf: string;
    readonly newer?: { readonly price: number };
  }[];
  readonly total: number;
  readonly state: string;
  readonly sentence: string;
}

export interface OrderSeen {
  readonly orderId: string;
  readonly status: string;
  readonly total: number;
  readonly timeline: readonly { readonly at: string; readonly status?: string; readonly text: string }[];
}

/** What stands in an order's timeline, by status, in order. */
export function statuses({ timeline }: OrderSeen): string[] {
  return timeline.flatMap(({ status }) => status ?? []);
}

/** A visitor's way from the shelf to an order. */
export function visitorOf(shop: Shop, visitor: string) {
  const basket = () => shop.json<BasketSeen>('GET', '/api/basket', { visitor });
  /** @returns the basket once it shows what was added, as a person would wait before ordering */
  const add = async (productId: string, quantity = 1): Promise<BasketSeen> => {
    const body = { productId, quantity };
    const answer = await shop.json<BasketSeen & { shown: boolean }>('POST', '/api/basket/items', { visitor, body });
    if (answer.shown) return answer;
    return await until('the page shows what was added', async () => {
      const seen = await basket();
      return seen.lines.some((line) => line.productId === productId) && seen;
    });
  };
  const checkout = (requestId: string, body: object = {}) => shop.ask('POST', '/api/checkout', { visitor, requestId, body });
  const seen = (orderId: string) => shop.json<OrderSeen>('GET', `/api/orders/${orderId}`, { visitor });
  return {
    add,
    checkout,
    seen,
    basket,
    cancel: (orderId: string) => shop.ask('POST', `/api/orders/${orderId}/cancel`, { visitor }),
    /** Puts something into the basket, once the one before is emptied, and orders it. */
    async order(productId: string, { quantity = 1, ...body }: { quantity?: number; paymentToken?: string } = {}): Promise<string> {
      await until('the last order has left the basket', async () => (await this.basket()).lines.length === 0);
      await add(productId, quantity);
      const response = await checkout(`${visitor}-${crypto.randomUUID()}`, body);
      const answer = (await response.json()) as { orderId: string };
      if (response.status !== 202) throw new Error(`checkout: ${response.status} ${JSON.stringify(answer)}`);
      return answer.orderId;
    },
    reaches: (orderId: string, status: string) =>
      until(`the order is ${status}`, async () => {
        const order = await seen(orderId);
        return order.status === status && order;
      }),
  };
}

/** Starts a shop and resolves when it is open. With `folder` it starts on data that is there, and leaves it there. */
export async function openShop({ folder, env = {} }: { folder?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Shop> {
  const data = folder ?? (await mkdtemp(join(tmpdir(), 'shop-')));
  const { child, output, said, ended } = launch({ SHOP_PORT: '0', SHOP_DATA: data, ...HASTE, ...env });
  const opened = () => said().includes('Ctrl-C closes it') && /Shop\s+(http:\/\/\S+?)\//.exec(said())?.[1];
  const endedEarly = ended.then((code) => Promise.reject(new Error(`start.ts ended with ${code}:\n${output()}`)));
  const url = await Promise.race([until('the shop is open', opened, OPEN_MS), endedEarly]);

  const ask: Shop['ask'] = (method, path, { visitor, requestId, body, headers } = {}) =>
    fetch(url + path, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(visitor === undefined ? {} : { 'x-visitor': visitor }),
        ...(requestId === undefined ? {} : { 'x-requestid': requestId }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      redirect: 'manual',
    });
  const json: Shop['json'] = async <T>(method: string, path: string, asked?: Asked): Promise<T> => {
    const response = await ask(method, path, asked);
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}\n${output()}`);
    return JSON.parse(text) as T;
  };
  const close = async (): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGINT');
    return await ended;
  };
  return {
    url,
    folder: data,
    pid: child.pid!,
    output,
    said,
    ask,
    json,
    close,
    async service(name) {
      const { services } = await json<{ services: ServiceSeen[] }>('GET', '/api/behind');
      return services.find((service) => service.name === name)!;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
    async [Symbol.asyncDispose]() {
      await close();
      if (folder === undefined) await rm(data, { recursive: true, force: true });
    },
  };
}

/** Runs start.ts to its end, for starts that must fail. */
export async function failToOpen(env: NodeJS.ProcessEnv): Promise<{ code: number | null; output: string }> {
  const { output, ended } = launch(env);
  return { code: await ended, output: output() };
}

/** start.ts as somebody types it; the test runner's own variable would make its processes speak another language. */
export function launch(
  env: NodeJS.ProcessEnv,
  program = 'start.ts',
): { child: ChildProcess; output: () => string; said: () => string; ended: Promise<number | null> } {
  const { NODE_TEST_CONTEXT: _context, ...inherited } = process.env;
  const file = fileURLToPath(new URL(`../${program}`, import.meta.url));
  const child = spawn(process.execPath, [file], { env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  let [all, said] = ['', ''];
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (chunk: string) => void (all += chunk));
  child.stdout!.on('data', (chunk: string) => void (said += chunk));
  return { child, output: () => all, said: () => said, ended: new Promise((resolve) => child.once('close', (code) => resolve(code))) };
}

/** Waits for a condition, not for the clock. An error while looking counts as not yet. */
export async function until<T>(
  what: string,
  look: () => Promise<T | false | undefined> | T | false | undefined,
  waitMs = WAIT_MS,
): Promise<T> {
  const deadline = performance.now() + waitMs;
  let trouble: unknown;
  while (performance.now() < deadline) {
    try {
      const found = await look();
      if (found !== false && found !== undefined) return found;
      trouble = undefined;
    } catch (error) {
      trouble = error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  throw new Error(`waited in vain: ${what}`, { cause: trouble });
}

/** Whether a process is gone; one that has ended and that nobody has collected counts as gone. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return true;
  }
  try {
    return /^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** As after a restore from a backup: the service no longer knows how far it has read, only what it has applied. */
export function forgetPositions(file: string): void {
  const database = new DatabaseSync(file);
  database.exec('delete from waybill_position');
  database.close();
}
