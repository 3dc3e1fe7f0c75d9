import type { BasketSaved } from '../basket/http.ts';
import type { PriceSaved } from '../catalog/http.ts';
import { Problem } from '../service/problem.ts';
import type { ServiceName } from '../supervisor/messages.ts';
import type { Watch } from './watch.ts';

/** Milliseconds for a service to answer a command, and for the catalogue to make many changes. */
const ANSWER_MS = 4_000;
const BURST_MS = 30_000;

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
  setPrice(caller: Caller, productId: string, priceCents: number): Promise<PriceSaved & Duplicate>;
  burst(changes: number): Promise<{ changes: number; token?: string }>;
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
    burst: (changes) => call('catalog', 'POST', '/burst', { body: { changes }, answerMs: BURST_MS }),
    async knows(name, token) {
      try {
        return (
          await call<{ caughtUp: boolean }>(name, 'GET', `/health/caught-up?token=${encodeURIComponent(token)}`, {
            answerMs: 500,
          })
        ).caughtUp;
      } catch {
        return undefined;
      }
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
