/** What the databases hold when all is at rest. */
import { type Ground, services } from './ground.ts';
import { subscriptions } from './role.ts';

export interface State {
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
    ledger.push(...of(await read<Omit<State['ledger'][number], 'service'>>(service, `select ${position} as position, id, type, kind, key, ${text('body')} as body from waybill_ledger`)));
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

/** Undefined: nothing is left to do. Else what it is. */
export async function leftToDo(ground: Ground): Promise<string | undefined> {
  const { read, pair } = ground;
  const count = async (service: Parameters<typeof read>[0], from: string): Promise<number> => Number((await read<{ n: number }>(service, `select count(*) as n from ${from}`))[0]!.n);
  try {
    const counted = await count('bank', `waybill_ledger where type = 'bank.counted.v1'`);
    const taken = new Map((await read<{ subscription: string; n: number }>('shop', `select subscription, count(*) as n from waybill_inbox group by subscription`)).map(({ subscription, n }) => [subscription, Number(n)]));
    for (const name of Object.keys(subscriptions)) {
      const n = taken.get(`shop.${name}`) ?? 0;
      if (n < counted) return `shop.${name} has taken ${n} of ${counted}`;
    }
    const orders = await count('bank', 'submitted');
    const ended = await count('ordering', `waybill_saga where status in ('completed', 'compensated')`);
    if (ended < orders) return `${ended} of ${orders} orders have ended`;
    for (const service of ['bank', 'shop', 'ordering', 'works'] as const) {
      const waiting = await read<{ subscription: string; reason: string; n: number }>(service, 'select subscription, reason, count(*) as n from waybill_waiting group by subscription, reason');
      if (waiting.length > 0) return `${service} waits: ${waiting.map(({ subscription, reason, n }) => `${n} ${reason} in ${subscription}`).join(', ')}`;
    }
    const commands = await count('ordering', `waybill_ledger where kind = 'command'`);
    const worked = await count('works', 'waybill_inbox');
    if (worked < commands) return `works has taken ${worked} of ${commands} commands`;
    return undefined;
  } catch (error) {
    return `${pair.store} cannot be read: ${String(error).slice(0, 200)}`;
  }
}
