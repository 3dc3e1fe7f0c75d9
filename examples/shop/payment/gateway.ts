/** Milliseconds for the gateway to answer. */
const ANSWER_MS = 5_000;

export interface Call {
  /** The gateway does under one key what it is asked only once. */
  readonly key: string;
  readonly signal: AbortSignal;
}

export type Charged = { readonly chargeId: string } | { readonly declined: string };

/** The gateway of somebody else, over HTTP. What it does not answer, or answers with trouble, is thrown: nobody knows then. */
export interface Gateway {
  charge(order: { orderId: string; amountCents: number; token: string }, call: Call): Promise<Charged>;
  refund(charge: { orderId: string; amountCents: number; chargeId: string }, call: Call): Promise<void>;
}

/** @param ask how it is asked; tests put a gateway right there */
export function gatewayAt(address: () => string | undefined, ask: typeof fetch = fetch): Gateway {
  const post = async (path: string, body: object, { key, signal }: Call): Promise<Response> => {
    const base = address();
    if (base === undefined) throw new Error('the payment gateway is not there');
    return await ask(base + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify(body),
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
  };

  return {
    async charge(order, call) {
      const response = await post('/charges', order, call);
      if (response.ok) return (await response.json()) as { chargeId: string };
      const { code, detail } = (await response.json()) as { code: string; detail: string };
      if (code === 'declined' || code === 'unknown-card') return { declined: detail };
      throw new Error(`the payment gateway answered ${response.status}: ${detail}`);
    },
    async refund(charge, call) {
      const response = await post('/refunds', charge, call);
      if (!response.ok) throw new Error(`the payment gateway answered ${response.status}`);
    },
  };
}
