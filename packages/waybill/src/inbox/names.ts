import type { Plan } from '../contract/handling.ts';
import type { InboxPort } from '../contract/store.ts';

/**
 * The inbox of a subscription that had other names. In a rolling deployment an instance that knows only the old name may
 * still hold deliveries, and commit after its inbox was carried over: so what is taken on is taken on under every name,
 * and whichever instance is second finds it there. Costs an insert more per former name, until `formerly` is taken out.
 */
export function underAllNames(inbox: InboxPort, { name, formerly }: Pick<Plan, 'name' | 'formerly'>): Pick<InboxPort, 'insert' | 'has' | 'advance'> {
  if (formerly.length === 0) return inbox;
  return {
    async insert(tx, subscription, keys) {
      let fresh = await inbox.insert(tx, subscription, keys);
      for (const former of subscription === name ? formerly : []) {
        const there = await inbox.insert(tx, former, keys);
        fresh = fresh.map((isFresh, at) => isFresh && there[at]!);
      }
      return fresh;
    },
    async has(subscription, key) {
      for (const one of [subscription, ...formerly]) if (await inbox.has(one, key)) return true;
      return false;
    },
    async advance(tx, mark) {
      let raised = await inbox.advance(tx, mark);
      for (const former of formerly) raised = (await inbox.advance(tx, { ...mark, subscription: former })) && raised;
      return raised;
    },
  };
}
