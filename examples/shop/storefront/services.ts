import type { BasketSaved, CheckoutSaved } from '../basket/http.ts';
import type { SeenLine } from '../basket/checkout.ts';
import type { PriceSaved, StockSaved } from '../catalog/http.ts';
import type { Charge, Mode } from '../gateway/books.ts';
import type { Audited, Replayed, Trouble } from '../service/operator.ts';
import type { Switches } from '../service/switches.ts';
import { Problem } from '../service/problem.ts';
import type { ServiceName } from '../supervisor/messages.ts';
import type { Watch } from './watch.ts';

/** Milliseconds for a service to answer a command, and to go through everything that there is. */
const ANSWER_MS = 4_000;
const BURST_MS = 30_000;
/** Milliseconds for a service to say how it is; a page that shows it does not wait longer. */
const LOOK_MS = 500;

/** Who asks, and under which number: the service applies requests of one number once. */
export interface Caller {
  readonly visitorId: string;
  readonly requestId: string | undefined;
}

type Duplicate = { readonly duplicate: boolean };

/** The commands that the storefront passes on, over HTTP: a visitor waits for the answer. Everything else is messages. */
export interface Services {
  addItem(caller: Caller, item: { productId: string; quantity: number }): Promise<BasketSaved & Duplicate>;
  setQuantity(caller: Caller, item: { productId: string; quantity: number }): Promise<BasketSaved>;
  removeItem(caller: Caller, productId: string): Promise<BasketSaved>;
  checkout(caller: Caller, order: { lines: readonly SeenLine[]; paymentToken: string }): Promise<CheckoutSaved & Duplicate>;
  /** Gives the card to the gateway and keeps only what stands for it. */
  cardToken(cardNumber: string): Promise<string>;
  cancelOrder(caller: Caller, orderId: string): Promise<{ orderId: string; token: string }>;
  setPrice(caller: Caller, productId: string, priceCents: number): Promise<PriceSaved & Duplicate>;
  deliver(caller: Caller, productId: string, pieces: number): Promise<StockSaved & Duplicate>;
  burst(changes: number): Promise<{ changes: number; token?: string }>;
  /** What waits in a service, and what it has given up; undefined when it does not say. */
  trouble(name: ServiceName): Promise<Trouble | undefined>;
  retry(name: ServiceName, group: string): Promise<{ retried: number }>;
  /** Lets a subscription hear everything again. */
  replay(name: ServiceName, subscription: string): Promise<Replayed>;
  audit(name: ServiceName): Promise<{ entries: Audited[] }>;
  switches(name: ServiceName): Promise<Switches | undefined>;
  setSwitches(name: ServiceName, switches: Partial<Switches>): Promise<void>;
  charges(orderId: string): Promise<{ charges: Charge[]; refunds: Charge[] }>;
  /** What each owner has counted: of stock, of orders, of money. */
  books(): Promise<{ stock: unknown; orders: unknown; money: unknown }>;
  gatewayMode(): Promise<Mode | undefined>;
  setGatewayMode(mode: Mode): Promise<void>;
  /** Whether a service has applied what the token stands for; undefined when it does not say. */
  knows(name: ServiceName, token: string): Promise<boolean | undefined>;
}

export function servicesOver(watch: Watch): Services {
  const basket = ({ visitorId }: Caller, path: string): string => `/baskets/${encodeURIComponent(visitorId)}/items${path}`;

  return {
    addItem: (caller, item) => call('basket', 'POST', basket(caller, ''), { caller, body: item }),
    setQuantity: (caller, { productId, quantity }) =>
      call('basket', 'PUT', basket(caller, `/${encodeURIComponent(productId)}`), { caller, body: { quantity } }),
    removeItem: (caller, productId) => call('basket', 'DELETE', basket(caller, `/${encodeURIComponent(productId)}`), { caller }),
    setPrice: (caller, productId, priceCents) =>
      call('catalog', 'POST', `/products/${encodeURIComponent(productId)}/price`, { caller, body: { priceCents } }),
    checkout: (caller, order) =>
      call('basket', 'POST', `/baskets/${encodeURIComponent(caller.visitorId)}/checkout`, { caller, body: order }),
    cardToken: async (cardNumber) => (await call<{ token: string }>('gateway', 'POST', '/cards', { body: { cardNumber } })).token,
    cancelOrder: (caller, orderId) => call('ordering', 'POST', `/orders/${encodeURIComponent(orderId)}/cancel`, { caller, body: {} }),
    deliver: (caller, productId, pieces) =>
      call('catalog', 'POST', `/products/${encodeURIComponent(productId)}/deliveries`, { caller, body: { pieces } }),
    trouble: (name) => told(call<Trouble>(name, 'GET', '/operations', { answerMs: LOOK_MS })),
    retry: (name, group) => call(name, 'POST', '/operations/retry', { body: { group } }),
    replay: (name, subscription) =>
      call(name, 'POST', `/operations/subscriptions/${encodeURIComponent(subscription)}/replay`, { body: {}, answerMs: BURST_MS }),
    audit: (name) => call(name, 'GET', '/operations/audit', { answerMs: BURST_MS }),
    switches: (name) => told(call<Switches>(name, 'GET', '/switches', { answerMs: LOOK_MS })),
    setSwitches: async (name, switches) => void (await call(name, 'POST', '/switches', { body: switches })),
    charges: (orderId) => call('gateway', 'GET', `/orders/${encodeURIComponent(orderId)}`, {}),
    async books() {
      const { stock } = await call<{ stock: unknown }>('catalog', 'GET', '/stock', {});
      const orders = await call<object>('ordering', 'GET', '/orders', {});
      return { stock, ...(orders as { orders: unknown }), money: await call('gateway', 'GET', '/totals', {}) };
    },
    gatewayMode: async () => (await told(call<{ mode: Mode }>('gateway', 'GET', '/mode', { answerMs: LOOK_MS })))?.mode,
    setGatewayMode: async (mode) => void (await call('gateway', 'POST', '/mode', { body: { mode } })),
    burst: (changes) => call('catalog', 'POST', '/burst', { body: { changes }, answerMs: BURST_MS }),
    async knows(name, token) {
      const path = `/health/caught-up?token=${encodeURIComponent(token)}`;
      return (await told(call<{ caughtUp: boolean }>(name, 'GET', path, { answerMs: LOOK_MS })))?.caughtUp;
    },
  };

  async function call<T>(
    name: ServiceName,
    method: string,
    path: string,
    { caller, body, answerMs = ANSWER_MS }: { caller?: Caller; body?: object; answerMs?: number },
  ): Promise<T> {
    const address = watch.url(name);
    if (address === undefined) throw down(name);
    const headers = {
      ...(body ? { 'content-type': 'application/json' } : {}),
      ...(caller ? { 'x-visitor': caller.visitorId } : {}),
      ...(caller?.requestId === undefined ? {} : { 'x-requestid': caller.requestId }),
    };
    let response: Response;
    let answer: unknown;
    try {
      response = await fetch(address + path, {
        method,
        headers,
        ...(body ? { body: JSON.stringify(body) } : {}),
        signal: AbortSignal.timeout(answerMs),
      });
      answer = await response.json();
    } catch (error) {
      throw wasRefused(error) ? down(name) : unknownOutcome(name);
    }
    if (response.ok) return answer as T;
    const { code, detail, errors } = answer as { code: string; detail: string; errors?: unknown };
    throw new Problem(response.status as 400, code, detail, errors === undefined ? {} : { errors });
  }
}

/** What a service says of itself, if it does. */
async function told<T>(saying: Promise<T>): Promise<T | undefined> {
  try {
    return await saying;
  } catch {
    return undefined;
  }
}

function down(name: ServiceName): Problem {
  return new Problem(503, 'service-down', `${titleOf(name)} is not answering. Nothing was changed; try again in a moment.`);
}

/** The connection broke, or time ran out, after the command had left. */
function unknownOutcome(name: ServiceName): Problem {
  return new Problem(
    504,
    'outcome-unknown',
    `${titleOf(name)} did not answer in time, so it is not known whether it did this. Repeating it with the same x-requestid is safe.`,
  );
}

function wasRefused(error: unknown): boolean {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED';
}

/** `basket` → `Basket`, as it stands at the beginning of a sentence. */
export function titleOf(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
