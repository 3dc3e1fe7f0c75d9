/** What a simulated run has left, in the words of the checker. */
import type { WireMessage } from '../../contract/message.ts';
import type { Broker } from './broker.ts';
import { mix } from './chance.ts';
import type { Clients } from './clients.ts';
import type { Database } from './database.ts';
import type { Run, Sent, Story, Violation } from './story.ts';
import { type Fate, type Knobs, type Step, canonical, subscribed } from './workload.ts';

export type Told = Map<string, string[]>;

interface Left {
  readonly databases: Readonly<Record<'shop' | 'basket', Database>>;
  readonly knobs: Knobs;
  readonly broker: Broker;
  readonly clients: Clients;
  readonly runs: readonly Run[];
  readonly seen: readonly Violation[];
  readonly left: readonly string[];
  readonly told: Told;
  readonly crashedAlone: ReadonlyMap<string, number>;
}

const text = new TextDecoder();

export function storyOf({ databases, knobs, broker, clients, runs, seen, left, told, crashedAlone }: Left): Story {
  const all = [databases.shop, databases.basket];
  const fateOf = new Map<string, Fate>();
  const sent = all.flatMap(({ disk }) => [...disk.outbox.committed.values()]).flatMap((row): Sent[] => {
    if (row.kind === 'reply') return [];
    const step = dataOf(row);
    if (step.fate !== undefined) fateOf.set(row.id, step.fate);
    return [
      {
        source: row.source,
        id: row.id,
        type: row.type,
        kind: row.kind,
        key: step.key ?? '',
        n: step.n ?? 0,
        position: row.position,
        digest: digestOf(row),
        committedMs: row.storedMs,
        dueMs: clients.dueMs.get(row.id),
        operation: row.source === 'shop' && step.op ? step.op : undefined,
        by: step.by,
      },
    ];
  });
  const orders = [...databases.shop.orders.committed.values()];
  return {
    sent,
    cancelled: [...clients.cancelled],
    perhapsCancelled: [...clients.perhapsCancelled],
    applied: all.flatMap(({ effects }) => [...effects.committed].map(([position, effect]) => ({ ...effect, position }))),
    dead: all.flatMap(({ disk }) =>
      [...disk.failures.committed.values()].map(({ subscription, message, error, attempts }) => {
        const { key = '', n = 0 } = dataOf(message);
        const { source, id, type } = message;
        return { subscription: subscription && canonical(subscription), source, id, type, key, n, code: error.code, attempts, digest: digestOf(message) };
      }),
    ),
    subscriptions: subscribed(knobs),
    operations: [...new Set([...orders.map(({ operation }) => operation), ...clients.acknowledged])].map((name) => ({
      name,
      commits: orders.filter(({ operation }) => operation === name).map(({ ids }) => ids),
      once: clients.once.has(name),
      acknowledged: clients.acknowledged.has(name),
    })),
    runs,
    doomed: new Map(
      [...fateOf].flatMap(([id, fate]): [string, 'throws' | 'rejects'][] =>
        fate === 'doomed' ? [[id, 'throws']] : fate === 'rejected' ? [[id, 'rejects']] : [],
      ),
    ),
    poison: new Set([...fateOf].flatMap(([id, fate]) => (fate === 'poison' ? [id] : []))),
    crashedAlone,
    together: [['shop.priced.v2', 'shop.priced.v1']],
    refused: broker.refused,
    seen,
    left,
    told,
  };
}

function dataOf({ body }: WireMessage): Partial<Step> & { readonly by?: string } {
  try {
    return JSON.parse(text.decode(body)) as Partial<Step>;
  } catch {
    return {};
  }
}

function digestOf({ body }: WireMessage): string {
  return mix(text.decode(body)).toString(16);
}
