/** History and state of a torture run, told in the words of the checker that the simulation uses, and what only sagas have. */
import { check, type Dead, type Sent, type Story, type Violation } from 'waybill/testing';
import { type Excuses, excusesOf } from './excuses.ts';
import type { Line } from './history.ts';
import { poisonAttempts, poisonOf, graceMs, reminders, subscriptions } from './role.ts';
import { isEvents, type State } from './state.ts';

/** No message of the other subscriptions is ever given up: their attempts are more than anything that happens needs. */
const attemptsMax = 62;
/** The database's clock has whole milliseconds. */
const roundingMs = 5;

export interface Verdict {
  readonly violations: readonly Violation[];
  readonly story: Story;
}

export function judge(history: readonly Line[], state: State): Verdict {
  const excuses = excusesOf(history);
  const story = storyOf(history, state, excuses);
  return { story, violations: [...check(story), ...judgePublishers(history, state, excuses), ...judgeReminders(history), ...judgeLosses(history, excuses), ...judgeOrders(state, excuses)] };
}

function storyOf(history: readonly Line[], state: State, { mayBeGone, late, inDoubt }: Excuses): Story {
  const takenBack = takenBackOf(history, mayBeGone);
  const there = new Set(state.ledger.map(({ id }) => id));
  const isGone = (id: string): boolean => !there.has(id) && mayBeGone(id);
  const sent: Sent[] = state.ledger
    .filter(({ kind }) => kind !== 'reply')
    .map(({ service, id, type, kind, key, position, body }) => ({ source: service, id, type, kind, key: key ?? '', n: nOf(body), position, digest: body, committedMs: 0 }));
  const dead: Dead[] = state.failures
    .filter((failure) => failure.code !== 'BROKE' && !isGone(failure.id) && !isOrphan(failure, inDoubt)) // part of the orders' story; or of what a restore lost
    .map(({ subscription, id, source, type, code, attempts, body }) => ({ subscription: subscription ?? undefined, source, id, type, key: '', n: nOf(body), code, attempts, digest: body }));
  const poisoned = sent.filter(({ type }) => type === 'bank.counted.v1').flatMap(({ id, n }): [string, 'throws' | 'rejects'][] => {
    const how = poisonOf(n);
    return how === undefined ? [] : [[id, how === 'refused' ? 'rejects' : 'throws']];
  });
  const doomed = new Map(poisoned);
  const seen: Violation[] = dead
    .filter(({ subscription, id }) => subscription !== 'shop.poison' && doomed.has(id))
    .map(({ subscription, id, code }) => ({ invariant: 'I11', what: `${subscription ?? 'its sender'} gave it up (${code}), which only shop.poison cannot take`, id }));
  for (const { subscription, id, code } of dead) if (subscription === undefined) seen.push({ invariant: 'I1', what: `could not be sent (${code})`, id });
  return {
    sent,
    cancelled: takenBack.yes,
    perhapsCancelled: takenBack.perhaps,
    applied: state.effects.map(({ at, subscription, id, source, key, n }) => ({ subscription: `shop.${subscription}`, source, id, type: typeOf(subscription), key, n, position: at, caused: undefined })),
    dead,
    subscriptions: Object.entries<{ order?: 'by-key' | 'latest' }>({ ...subscriptions, [reminders]: {} }).map(([name, { order = 'any' as const }]) => ({
      ...{ name: `shop.${name}`, service: 'shop', order, types: [typeOf(name)], pauseMs: () => 0 },
      attemptsMax: name === 'poison' ? poisonAttempts : attemptsMax,
    })),
    operations: [],
    runs: history.flatMap(({ what, sub, id, attempt, t }) => (what === 'run' ? [{ subscription: sub!, id: id!, attempt: attempt!, atMs: t }] : [])),
    doomed,
    crashedAlone: crashedAlone(history),
    poison: new Set(),
    refused: new Set(),
    seen,
    together: [],
    sagas: [], // judged below, by their own words
    starts: [],
    asked: [],
    gapless: new Set(),
    left: state.waiting.map(({ service, subscription, id, reason }) => `${service} still has ${id} waiting (${reason}, ${subscription ?? 'to be sent'})`),
    gone: new Set(history.flatMap(({ what, id }) => (what === 'tried' && isGone(id!) ? [`bank ${id}`] : []))),
    late,
    told: toldOf(history),
  };
}

/** What came of a saga that a restore lost finds none. */
function isOrphan({ code, body }: State['failures'][number], inDoubt: ReadonlySet<string>): boolean {
  return code === 'SAGA_NOT_FOUND' && inDoubt.has((JSON.parse(body) as { orderId: string }).orderId);
}

function typeOf(subscription: string): string {
  return subscription === reminders ? 'bank.reminded.v1' : 'bank.counted.v1';
}

/** Reminders that are not to be sent any more, and those of which nobody knows. */
function takenBackOf(history: readonly Line[], mayBeGone: (id: string) => boolean): { readonly yes: readonly string[]; readonly perhaps: readonly string[] } {
  const outcomes = new Map<string, Line['what']>();
  for (const { what, id } of history) if (what === 'taking back' || what === 'taken back' || what === 'not taken back') outcomes.set(id!, mayBeGone(id!) ? 'taking back' : what);
  const those = (wanted: Line['what']): string[] => [...outcomes].flatMap(([id, what]) => (what === wanted ? [id] : []));
  return { yes: those('taken back'), perhaps: those('taking back') };
}

/** I16: nothing that was delayed is applied before its time. */
function judgeReminders(history: readonly Line[]): Violation[] {
  const due = new Map(history.flatMap(({ id, dueMs }): [string, number][] => (dueMs === undefined ? [] : [[id!, dueMs]])));
  return history.flatMap(({ what, id, t, sub }) => {
    const earlyMs = what === 'run' ? (due.get(id!) ?? -Infinity) - t : 0;
    return earlyMs > roundingMs ? [{ invariant: 'I16', what: `${sub} was given it ${Math.round(earlyMs)} ms before it was due`, id: id! }] : [];
  });
}

function nOf(body: string): number {
  return (JSON.parse(body) as { n?: number }).n ?? 0;
}

/** How often a process died with this message as the last that it had begun, and without a verdict on it: a suspect runs alone. */
function crashedAlone(history: readonly Line[]): Map<string, number> {
  const last = new Map<string, string>();
  const counts = new Map<string, number>();
  for (const { by, what, sub, id } of history) {
    if (what === 'run') last.set(by, `${sub} ${id}`);
    if ((what === 'applied' || what === 'retrying' || what === 'failed' || what === 'duplicate') && last.get(by) === `${sub} ${id}`) last.delete(by);
    if (what !== 'ended') continue;
    const alone = last.get(by);
    if (alone !== undefined) counts.set(alone, (counts.get(alone) ?? 0) + 1);
  }
  return counts;
}

/** I1, I2 and I4 at the source: acknowledged means durable, undone means gone, and counters are their events. */
function judgePublishers(history: readonly Line[], { ledger, counters, submitted, effects }: State, excuses: Excuses): Violation[] {
  const found: Violation[] = [];
  const events = ledger.filter(({ service, kind }) => service === 'bank' && kind === 'event');
  const there = new Set(events.map(({ id }) => id));
  const tried = new Map<string, Line>();
  const { yes, perhaps } = takenBackOf(history, excuses.mayBeGone);
  const takenBack = new Set([...yes, ...perhaps]);
  const mayBeGone = (id: string): boolean => takenBack.has(id) || excuses.mayBeGone(id);
  for (const line of history) {
    const { what, id, ids = [], text } = line;
    if (what === 'tried') tried.set(id!, line);
    if (what === 'committed') for (const one of ids) if (!there.has(one) && !mayBeGone(one)) found.push({ invariant: 'I1', what: 'its transaction was reported as committed, and it is not in the ledger', id: one });
    if (what === 'undone') for (const one of ids) if (there.has(one)) found.push({ invariant: 'I2', what: `its transaction was reported as undone (${text}), and it is in the ledger`, id: one });
  }
  for (const { id } of events) if (!tried.has(id)) found.push({ invariant: 'I2', what: 'nobody published what is in the ledger', id });
  for (const { id, key, n, subscription } of effects) {
    const said = tried.get(id);
    if (said && !there.has(id) && (said.key !== key || said.n !== n)) found.push({ invariant: 'I2', what: `shop.${subscription} applied something else than what was published and lost in a restore`, id });
  }
  const byKey = new Map<string, number[]>();
  for (const { type, key, body, id } of events) {
    if (type !== 'bank.counted.v1') continue;
    const list = byKey.get(key!) ?? [];
    byKey.set(key!, list);
    if (list.includes(nOf(body))) found.push({ invariant: 'I4', what: `two events say that ${key} is ${nOf(body)}`, id });
    list.push(nOf(body));
  }
  for (const { key, n } of counters) {
    const count = byKey.get(key)?.length ?? 0;
    if (count !== n) found.push({ invariant: 'I4', what: `${key} was raised ${n} times, and ${count} events say so` });
  }
  const orders = new Set(events.filter(({ type }) => type === 'bank.order-submitted.v1').map(({ key }) => key));
  for (const { id } of submitted) if (!orders.has(id)) found.push({ invariant: 'I4', what: `order ${id} is there, and no event says so` });
  if (orders.size !== submitted.length) found.push({ invariant: 'I4', what: `${submitted.length} orders, and ${orders.size} events of them` });
  return found;
}

/** I22: what is missing when all is at rest was deleted or is of before a restore, and an audit tells exactly that. */
function judgeLosses(history: readonly Line[], { mayMiss }: Excuses): Violation[] {
  const audited = new Map(history.flatMap(({ what, sub, n }): [string, number][] => (what === 'audited' && sub !== undefined ? [[sub, n!]] : [])));
  return history.flatMap(({ what, sub, ids = [] }): Violation[] => {
    if (what !== 'missing') return [];
    if (!mayMiss(sub!)) return [{ invariant: 'I1', what: `${sub} had not taken ${ids.length} until they were published again, and nothing had been deleted or restored that could lose them`, id: ids[0]! }];
    const said = audited.get(sub!) ?? 0;
    return isEvents(sub!) && said !== ids.length ? [{ invariant: 'I22', what: `an audit says that ${said} messages are lost to ${sub}, and ${ids.length} are`, id: ids[0]! }] : [];
  });
}

/** I15 and I16: every order ends, completed or with everything taken back in reverse and once; its timeout never comes early. */
function judgeOrders({ submitted, sagas, work, failures }: State, { inDoubt }: Excuses): Violation[] {
  const found: Violation[] = [];
  const byKey = new Map(sagas.map((saga) => [saga.key, saga]));
  const works = new Map(work.map((row) => [`${row.what} ${row.id}`, row]));
  const nothing = { done: 0, undone: 0 };
  for (const { id } of submitted) {
    const saga = byKey.get(id);
    const stock = works.get(`stock ${id}`) ?? nothing;
    const payment = works.get(`payment ${id}`) ?? nothing;
    const report = (invariant: string, what: string): void => void found.push({ invariant, what: `order ${id}: ${what}: ${JSON.stringify({ saga, stock, payment })}` });
    if (!saga) {
      report('I1', 'has no saga');
      continue;
    }
    const { setMs, firedMs, takenBack, steps } = JSON.parse(saga.state) as { setMs: number; firedMs: number | null; takenBack: boolean; steps: string[] };
    const ledger = JSON.parse(saga.ledger) as { steps: { step: string }[] };
    if (inDoubt.has(id)) {
      if (saga.status !== 'completed' && saga.status !== 'compensated') report('I15', 'has not ended');
      continue;
    }
    if (new Set(steps).size !== steps.length) report('I3', 'a step took effect twice');
    const earlyMs = firedMs === null ? 0 : setMs + graceMs - firedMs;
    if (earlyMs > roundingMs) report('I16', `its timeout came ${Math.round(earlyMs)} ms early`);
    if (takenBack && firedMs !== null) report('I16', 'its timeout ran although it had been taken back');
    if (saga.status === 'completed') {
      if (stock.done !== 1 || stock.undone !== 0 || payment.done !== 1 || payment.undone !== 0) report('I15', 'completed, and not reserved and paid once');
    } else if (saga.status === 'compensated') {
      const undone = steps.filter((step) => step.startsWith('undo ')).map((step) => step.slice('undo '.length));
      if (undone.join() !== ledger.steps.map(({ step }) => step).toReversed().join()) report('I15', 'not undone in reverse, each once');
      if (stock.undone !== 1 || stock.done > 1) report('I15', 'compensated, and its stock not released once');
      if (payment.done > 0 && payment.undone !== 1) report('I15', 'compensated, and paid');
    } else report('I15', 'has not ended');
  }
  const orders = new Set(submitted.map(({ id }) => id));
  for (const { key } of sagas) if (!orders.has(key) && !inDoubt.has(key)) found.push({ invariant: 'I2', what: `there is a saga of the order ${key}, which nobody submitted` });
  for (const failure of failures) {
    const { code, service, id } = failure;
    if (service !== 'shop' && code !== 'BROKE' && !isOrphan(failure, inDoubt)) found.push({ invariant: 'I11', what: `${service} has an innocent message in failures (${code})`, id });
  }
  return found;
}

/** What was said of each message, and what struck between the first word and the last. */
function toldOf(history: readonly Line[]): ReadonlyMap<string, readonly string[]> {
  const beganMs = history[0]?.t ?? 0;
  const lines = new Map<string, Line[]>();
  const blows = history.filter(({ what }) => what === 'fault' || what === 'ended');
  for (const line of history) {
    for (const id of line.id === undefined ? (line.ids ?? []) : [line.id]) {
      const list = lines.get(id);
      if (list) list.push(line);
      else lines.set(id, [line]);
    }
  }
  const told = (line: Line): string => {
    const { t, by, what, sub, key, n, attempt, text } = line;
    const details = [sub, key && `${key} ${n ?? ''}`, attempt !== undefined && `attempt ${attempt}`, text].filter(Boolean).join(' ');
    return `${((t - beganMs) / 1_000).toFixed(3).padStart(9)} s  ${by.padEnd(14)} ${what} ${details}`;
  };
  return new LazyMap(lines, (mine) => {
    const [fromMs, toMs] = [mine[0]!.t, mine.at(-1)!.t];
    const involved = new Set(mine.map(({ by }) => by));
    const meanwhile = blows.filter(({ t, what, by }) => t >= fromMs && t <= toMs && (what === 'fault' || involved.has(by)));
    return [...mine, ...meanwhile].sort((a, b) => a.t - b.t).map(told);
  });
}

/** Stories are made for the few that are asked for. */
class LazyMap<A, B> extends Map<string, B> {
  readonly #from: ReadonlyMap<string, A>;
  readonly #make: (from: A) => B;

  constructor(from: ReadonlyMap<string, A>, make: (from: A) => B) {
    super();
    this.#from = from;
    this.#make = make;
  }

  override get(key: string): B | undefined {
    const from = this.#from.get(key);
    return from === undefined ? undefined : this.#make(from);
  }
}
