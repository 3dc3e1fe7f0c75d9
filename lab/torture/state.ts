/** What the databases hold when all is at rest, and what is still to be done. */
import { type Ground, services } from './ground.ts';
import { reminders, type Role, subscriptions } from './role.ts';

export interface State {
  /** In position order; what was published again stands in it once. */
  readonly ledger: readonly { readonly service: string; readonly position: number; readonly id: string; readonly type: string; readonly kind: 'event' | 'command' | 'reply'; readonly key: string | null; readonly body: string }[];
  readonly counters: readonly { readonly key: string; readonly n: number }[];
  readonly submitted: readonly { readonly id: string }[];
  readonly effects: readonly { readonly at: number; readonly subscription: string; readonly id: string; readonly source: string; readonly key: string; readonly n: number }[];
  readonly failures: readonly { readonly service: string; readonly subscription: string | null; readonly id: string; readonly source: string; readonly type: string; readonly code: string; readonly attempts: number; readonly body: string }[];
  readonly waiting: readonly { readonly service: string; readonly subscription: string | null; readonly id: string; readonly reason: string }[];
  readonly sagas: readonly { readonly key: string; readonly status: string; readonly state: string; readonly ledger: string }[];
  readonly work: readonly { readonly what: string; readonly id: string; readonly done: number; readonly undone: number }[];
}

export async function readState(ground: Ground): Promise<State> {
  const { read, text, pair } = ground;
  const position = pair.store === 'postgres' ? 'pos' : 'position';
  const failures: State['failures'][number][] = [];
  const waiting: State['waiting'][number][] = [];
  const ledger: State['ledger'][number][] = [];
  for (const service of services) {
    const of = <Row extends object>(rows: Row[]): (Row & { service: string })[] => rows.map((row) => ({ ...row, service }));
    ledger.push(...firsts(of(await read<Omit<State['ledger'][number], 'service'>>(service, `select ${position} as position, id, type, kind, key, ${text('body')} as body from waybill_ledger order by ${position}`))));
    failures.push(...of(await read<Omit<State['failures'][number], 'service'>>(service, `select nullif(subscription, '') as subscription, id, source, type, error_code as code, attempts, ${text('body')} as body from waybill_failures`)));
    waiting.push(...of(await read<Omit<State['waiting'][number], 'service'>>(service, `select nullif(subscription, '') as subscription, id, reason from waybill_waiting`)));
  }
  return {
    ledger: ledger.map((row) => ({ ...row, position: Number(row.position) })),
    failures,
    waiting,
    counters: await read('bank', 'select key, n from counter'),
    submitted: await read('bank', 'select id from submitted'),
    effects: (await read<State['effects'][number]>('shop', 'select at, subscription, id, source, key, n from effect')).map((row) => ({ ...row, at: Number(row.at) })),
    sagas: await read('ordering', 'select key, status, state, ledger from waybill_saga'),
    work: await read('works', 'select what, id, done, undone from work'),
  };
}

/** Published again means the same message once more: under its id, of its type, with its bytes. What is not the same stays. */
function firsts<Row extends { id: string; type: string; body: string }>(rows: readonly Row[]): Row[] {
  const seen = new Set<string>();
  return rows.filter(({ id, type, body }) => seen.size < seen.add(`${id} ${type} ${body}`).size);
}

/** By subscription: what it takes and has no trace of. */
export type Missing = ReadonlyMap<string, readonly string[]>;

const takers: readonly { readonly subscription: string; readonly service: Role['service']; readonly from: Role['service']; readonly type: string }[] = [
  ...Object.keys(subscriptions).map((name) => ({ subscription: `shop.${name}`, service: 'shop' as const, from: 'bank' as const, type: 'bank.counted.v1' })),
  { subscription: `shop.${reminders}`, service: 'shop', from: 'bank', type: 'bank.reminded.v1' },
  { subscription: 'ordering.order-process', service: 'ordering', from: 'bank', type: 'bank.order-submitted.v1' },
  ...['works.stock-confirmed.v1', 'works.stock-rejected.v1'].map((type) => ({ subscription: 'ordering.order-process', service: 'ordering' as const, from: 'works' as const, type })),
  ...['reserve', 'release', 'authorize', 'void'].map((name) => ({ subscription: `works.works.${name}`, service: 'works' as const, from: 'ordering' as const, type: `works.${name}.v1` })),
];

/** Whether an audit tells of what it takes: of commands it does not. */
export function isEvents(subscription: string): boolean {
  return takers.some((one) => one.subscription === subscription && one.from !== 'ordering');
}

/** Of what stands in the ledgers: nobody has come so far, or it is lost. */
export async function missingNow({ read }: Pick<Ground, 'read'>): Promise<Missing> {
  const missing = new Map<string, string[]>();
  const ids = async (service: Role['service'], sql: string): Promise<string[]> => (await read<{ id: string }>(service, sql)).map(({ id }) => id);
  for (const { subscription, service, from, type } of takers) {
    const sent = await ids(from, `select distinct id from waybill_ledger where type = '${type}'`);
    const taken = new Set(await ids(service, `select id from waybill_inbox where subscription = '${subscription}' and source = '${from}'`));
    const gone = sent.filter((id) => !taken.has(id));
    if (gone.length > 0) missing.set(subscription, [...(missing.get(subscription) ?? []), ...gone]);
  }
  return missing;
}

/** Undefined: nothing is left to do. Else what it is. */
export async function leftToDo(ground: Ground): Promise<string | undefined> {
  const { read, pair } = ground;
  const count = async (service: Parameters<typeof read>[0], from: string): Promise<number> => Number((await read<{ n: number }>(service, `select count(*) as n from ${from}`))[0]!.n);
  try {
    const left = [...(await missingNow(ground))].map(([subscription, ids]) => `${subscription} has not taken ${ids.length}`);
    for (const service of services) {
      const waiting = await read<{ subscription: string; reason: string; n: number }>(service, 'select subscription, reason, count(*) as n from waybill_waiting group by subscription, reason order by subscription, reason');
      left.push(...waiting.map(({ subscription, reason, n }) => `${service} waits: ${n} ${reason} in ${subscription}`));
    }
    const orders = Math.max(await count('bank', 'submitted'), await count('ordering', 'waybill_saga'));
    const ended = await count('ordering', `waybill_saga where status in ('completed', 'compensated')`);
    if (ended < orders) left.push(`${ended} of ${orders} orders have ended`);
    return left.length === 0 ? undefined : left.join(', ');
  } catch (error) {
    return `${pair.store} cannot be read: ${String(error).slice(0, 200)}`;
  }
}
