/**
 * An order's way. Each status is said by an event of its own; what has come later never goes back.
 *
 *     Submitted ─▶ AwaitingValidation ─▶ StockConfirmed ─▶ Paid ─▶ Shipped
 *         └────────────────┴───────────────────┴────────────┴──▶ Cancelled
 */
export const STATUSES = ['Submitted', 'AwaitingValidation', 'StockConfirmed', 'Paid', 'Shipped', 'Cancelled'] as const;
export type Status = (typeof STATUSES)[number];

/** Whether its visitor may still call it off. */
export function isCancellable(status: Status): boolean {
  return status !== 'Shipped' && status !== 'Cancelled';
}
