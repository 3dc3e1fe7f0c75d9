import { WaybillError } from '../contract/errors.ts';
import type { StoreSession, StoreTransaction } from '../contract/store.ts';
import type { Scope } from './scope.ts';

/**
 * Which transaction a publish goes to; undefined = one of its own. The rule is decision 7: in a transaction or handler
 * the second half of every publish is `{ tx }`, and forgetting it is an error, not a silent dual write.
 * @throws WaybillError `TX_MISSING`, `NOT_A_TRANSACTION`
 */
export function targetOf(
  given: unknown,
  scope: Scope | undefined,
  store: StoreSession,
  required: boolean,
  what: string,
): StoreTransaction | undefined {
  if (given !== undefined && given !== 'own') return store.join(given);
  if (scope) {
    throw new WaybillError(
      'TX_MISSING',
      scope.kind === 'handler'
        ? `${what} inside a handler: use ctx.${what}(), or pass { tx: ctx.tx }; otherwise the message would survive a rollback`
        : `${what} inside bus.transaction(): pass { tx }; otherwise the message would survive a rollback`,
    );
  }
  if (required && given !== 'own') {
    throw new WaybillError(
      'TX_MISSING',
      `${what} without { tx }, and requireTransaction is on: pass the transaction, or { tx: 'own' } if an outbox row of its own is meant`,
    );
  }
  return undefined;
}
