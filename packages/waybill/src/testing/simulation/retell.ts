/** What a simulated run has left, in the words of the checker. */
import { definitionOf } from '../../contract/contracts.ts';
import type { WireMessage } from '../../contract/message.ts';
import { accountOf } from './accounts.ts';
import type { Broker } from './broker.ts';
import { mix } from './chance.ts';
import type { Clients } from './clients.ts';
import type { Archive, Databases, Moments } from './moments.ts';
import type { Conversation, Run, Sent, Story, Violation } from './story.ts';
import { Charge, type Fate, Ordered, Release, Reserve, type Step, type Work, Counted } from './contracts.ts';
import { type OrderState, heldKey } from './orders.ts';
import { type Knobs, canonical, subscribed, troubledKey } from './workload.ts';

export type Told = Map<string, string[]>;

interface Left {
  readonly databases: Databases;
  readonly moments: Moments;
  readonly knobs: Knobs;
  readonly broker: Broker;
  readonly clients: Clients;
  readonly runs: readonly Run[];
  readonly seen: Violation[];
  readonly left: readonly string[];
  readonly told: Told;
  /** A service has published again what stood in its ledger up to this row. */
  readonly original: ReadonlyMap<string, number>;
}

const text = new TextDecoder();

export function storyOf({ databases, moments, knobs, broker, clients, runs, seen, left, told, original }: Left): Story {
  const all = [databases.shop, databases.basket];
  const { archives } = moments;
  const fateOf = new Map<string, Fate>();
  const first = new Set<string>();
  const sent = [archives.shop, archives.basket].flatMap(({ ledger }) => [...ledger.values()]).flatMap((row): Sent[] => {
    if (row.kind === 'reply') return [];
    const name = `${row.source} ${row.id} ${row.type}`;
    if (row.position > (original.get(row.source) ?? Infinity) && first.has(name)) return []; // published again
    first.add(name);
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
  for (const { source, row } of all.flatMap(({ disk, options }) => [...disk.events.committed.values()].map((row) => ({ source: options.name, row })))) {
    const { id, type, stream, version, position, body, timeMs } = row;
    const { op, n } = JSON.parse(body) as Step;
    // Its number in the stream is what the decision was made on, or somebody else's came between.
    if (n !== version) seen.push({ invariant: 'I5', what: `${stream} has it as version ${version}, and it was decided as ${n}`, id });
    sent.push({ source, id, type, kind: 'event', key: stream, n: version, position, digest: mix(body).toString(16), committedMs: timeMs, operation: op });
  }
  const orders = [...databases.shop.orders.committed.values()];
  return {
    sent,
    cancelled: [...clients.cancelled],
    perhapsCancelled: [...clients.perhapsCancelled],
    applied: all.flatMap(({ effects, options }) => [...effects.committed].map(([position, effect]) => ({ ...effect, position, atMs: moments.appliedMs(options.name, position) }))),
    dead: all.flatMap(({ disk }) =>
      [...disk.failures.committed.values()].filter(({ subscription }) => subscription !== sagaName).map(({ subscription, message, error, attempts }) => {
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
    crashedAlone: moments.crashedAlone,
    together: [['shop.priced.v2', 'shop.priced.v1']],
    refused: broker.refused,
    ...conversationsOf(databases, archives.basket, sent, broker),
    ...(knobs.calm && { troubled: new Set([troubledKey, accountOf(troubledKey)]) }),
    gapless: new Set([typeOf(Counted)]),
    seen,
    left,
    told,
  };
}

/** By the name of its subscription. */
const sagaName = 'basket.orders';

function conversationsOf({ shop, basket }: Databases, { ledger, sagas }: Archive, sent: readonly Sent[], { refused }: Broker): Pick<Story, 'sagas' | 'starts' | 'asked'> {
  const asking = new Set([Reserve, Charge, Release].map(typeOf));
  const asked = [...ledger.values()].filter(({ type }) => asking.has(type));
  const isRefused = ({ source, id }: { readonly source: string; readonly id: string }): boolean => refused.has(`${source} ${id}`);
  const unsent = new Set(asked.filter(isRefused).map((row) => (dataOf(row) as Partial<Work>).saga));
  const held = (key: string, step: string): number => shop.business.committed.get(heldKey(key, step)) ?? 0;
  const failed = new Set([...basket.disk.failures.committed.values()].flatMap(({ subscription, message }) => (subscription === sagaName ? [message.key] : [])));
  return {
    asked,
    starts: sent.filter((message) => message.type === typeOf(Ordered) && !isRefused(message)),
    sagas: [...sagas.values()].map(({ key, status, state }): Conversation => {
      const { log, patienceMs } = JSON.parse(state) as OrderState;
      return { key, status, log, patienceMs, held: { reserve: held(key, 'reserve'), charge: held(key, 'charge') }, parked: failed.has(key), excused: unsent.has(key) };
    }),
  };
}

function typeOf(contract: unknown): string {
  return definitionOf(contract).type;
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
