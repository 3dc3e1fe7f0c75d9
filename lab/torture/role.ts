/** What one process of a torture run is told, as JSON in argv. */
export interface Role {
  /** `shop 1#4`. */
  readonly by: string;
  readonly service: 'bank' | 'shop' | 'ordering' | 'works';
  /** Of the bank: publishes; else it relays what others published. */
  readonly publishes: boolean;
  readonly relay: 'inline' | 'off';
  /** URLs. */
  readonly store: string;
  readonly transport: string;
  /** The chance to die at each step. */
  readonly selfKill: number;
  /** The chance of a handler to throw. */
  readonly throws: number;
  /** Milliseconds between two transactions of a publisher, on average. */
  readonly pauseMs: number;
}

/** Environment variable: how far the process's wall clock is off, in milliseconds. */
export const skewVariable = 'WAYBILL_TORTURE_SKEW_MS';

/** Of an order, until everything is taken back. */
export const graceMs = 1_500;
export const keys = 20;

/** Subscriptions of the shop to the bank's events, with what the checker may ask of each. */
export const subscriptions = {
  ordered: { order: 'by-key' },
  own: { order: 'by-key', transaction: 'own' },
  manual: { order: 'by-key', transaction: 'manual' },
  any: {},
  latest: { order: 'latest' },
  poison: {},
} as const;
export type SubscriptionName = keyof typeof subscriptions;

/** The shop's subscription to what is delayed. */
export const reminders = 'reminders';
/** Longest delay of a reminder. */
export const delayMaxMs = 2_500;

/** Attempts that a message of the subscription `poison` gets before it is given up. */
export const poisonRetry = { immediate: 1, delayed: 2, delayMs: 20, delayMaxMs: 100 } as const;
export const poisonAttempts = 4;

/** What the subscription `poison` cannot take: every so manieth value, refused at once or tried to the end. */
export function poisonOf(n: number): 'refused' | 'throws' | undefined {
  if (n % 25 === 0) return 'refused';
  return n % 25 === 12 ? 'throws' : undefined;
}

/** Of these orders the saga takes its timeout back once there is stock. */
export function takesGraceBack(orderId: string): boolean {
  return fateOf(orderId) % 2 === 0;
}

/** What becomes of an order is written in its number: 0 nobody hears of its stock, 1 no stock, 2 payment breaks, 3 is declined. */
export function fateOf(orderId: string): number {
  return Number(orderId.at(-1));
}
