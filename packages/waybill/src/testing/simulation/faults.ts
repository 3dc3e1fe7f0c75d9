/**
 * What goes wrong, and where. Each call of a process to its database or broker has two points: `before` its effect, and
 * `after` it, when only the answer is missing. A fault is a kind at a point of the nth call; a run draws its faults from
 * the seed, or repeats a list of them, which is how a failing run is made small.
 */
import type { Chance } from './chance.ts';

export const storeCalls = [
  'begin', 'commit', 'savepoint', 'business', 'outbox.append', 'outbox.acquire', 'outbox.read', 'outbox.settle',
  'outbox.renew', 'outbox.release', 'inbox.insert', 'inbox.has', 'inbox.advance', 'inbox.rename', 'waiting.add', 'waiting.due',
  'waiting.start', 'waiting.settle', 'waiting.take', 'waiting.blocked', 'waiting.cancel', 'failures.add', 'once.find', 'once.save',
  'saga.load', 'saga.save', 'saga.awaken', 'stream.append', 'stream.read', 'stream.scan',
  'projection.acquire', 'projection.settle', 'projection.renew', 'projection.release',
] as const; // prettier-ignore
export const brokerCalls = ['connect', 'declare', 'consume', 'send', 'receive', 'settle', 'release', 'fence'] as const;
export type CallName = (typeof storeCalls)[number] | (typeof brokerCalls)[number];

export const faultKinds = [
  /** The process dies. */
  'crash',
  /** The process stands still for seconds, its connections open (SIGSTOP, a long collection). */
  'pause',
  /** The connection is lost: before, nothing was done; after, it was, and nobody hears of it. */
  'lost',
  /** The database undoes the transaction: it may be run again. */
  'serialization',
  'deadlock',
  /** The database cannot be reached for a while. */
  'down',
  /** A commit whose answer was lost and cannot be asked for. Before: it did not happen; after: it did. */
  'unknown',
  /** The broker answers late: it is blocked by an alarm. */
  'blocked',
  /** The broker stores a message twice. */
  'duplicate',
  /** The broker refuses a message for good. */
  'refused',
  /** Only the first of several messages were stored before the connection was lost. */
  'partial',
  /** This consumer's lease is gone. */
  'fenced',
  /** The wall clock of a process jumps, up to a minute either way. */
  'clock',
  /** Everything dies at once. */
  'power',
] as const;
export type FaultKind = (typeof faultKinds)[number];
export type Point = 'before' | 'after';

export interface Fault {
  /** The number of the call, over all processes. */
  readonly call: number;
  readonly kind: FaultKind;
  readonly point: Point;
}

const everywhere: readonly FaultKind[] = ['crash', 'pause', 'clock', 'power'];
const inTransaction: ReadonlySet<string> = new Set([
  'commit', 'savepoint', 'business', 'outbox.append', 'outbox.acquire', 'outbox.settle', 'outbox.renew', 'outbox.release', 'inbox.insert',
  'inbox.advance', 'inbox.rename', 'waiting.add', 'waiting.start', 'waiting.settle', 'waiting.take', 'waiting.blocked', 'waiting.cancel', 'failures.add', 'once.find', 'once.save',
  'saga.load', 'saga.save', 'saga.awaken', 'stream.append', 'stream.read', 'projection.acquire', 'projection.settle', 'projection.renew',
  'projection.release',
]); // prettier-ignore

/** Which faults a call can meet at a point: what the coverage gate asks for. */
export function possible(call: CallName, point: Point): readonly FaultKind[] {
  const kinds: FaultKind[] = [...everywhere];
  if ((storeCalls as readonly string[]).includes(call)) {
    if (call === 'savepoint') return kinds;
    kinds.push('lost');
    if (inTransaction.has(call) && point === 'before') kinds.push('serialization', 'deadlock');
    if (call === 'begin' && point === 'before') kinds.push('down');
    if (call === 'commit') kinds.push('unknown');
    return kinds;
  }
  if (call === 'fence') return point === 'before' ? ['fenced'] : [];
  kinds.push('lost');
  if (call === 'send') {
    kinds.push('blocked');
    if (point === 'before') kinds.push('duplicate', 'refused', 'partial');
  }
  return kinds;
}

/** Every (call, point, kind) that there is. */
export function everyFault(): string[] {
  return aims().map(({ call, point, kind }) => nameOf(call, point, kind));
}

/**
 * The fault that a seed sees to, so that some hundred seeds in a row have met nearly every one.
 * @param name another, by its name: one that is still to be met
 */
export function aimOf(seed: number, name?: string): Aim {
  const all = aims();
  if (name === undefined) return all[seed % all.length]!;
  const found = all.find(({ call, point, kind }) => nameOf(call, point, kind) === name);
  if (!found) throw new RangeError(`there is no fault ${JSON.stringify(name)}`);
  return found;
}

export interface Aim {
  readonly call: CallName;
  readonly point: Point;
  readonly kind: FaultKind;
}

function aims(): Aim[] {
  return [...storeCalls, ...brokerCalls].flatMap((call) =>
    (['before', 'after'] as const).flatMap((point) => possible(call, point).map((kind) => ({ call, point, kind }))),
  );
}

export function nameOf(call: CallName, point: Point, kind: FaultKind): string {
  return `${kind} ${point} ${call}`;
}

/** Decides what goes wrong at each call. */
export interface Faults {
  at(call: number, name: CallName): { readonly kind: FaultKind; readonly point: Point } | undefined;
  readonly injected: readonly Fault[];
  /** Names of what was injected: coverage. */
  readonly hit: ReadonlySet<string>;
  /** Nothing more from now on. */
  heal(): void;
}

/** Calls of which the first few belong to the start. */
const frequent: ReadonlySet<string> = new Set(['begin', 'commit', 'business', 'inbox.insert', 'send', 'receive', 'settle', 'fence', 'outbox.read']);
const deadly: ReadonlySet<FaultKind> = new Set(['crash', 'power']);
/** A service that does nothing but start finds nothing out. */
const deathsMax = 12;
/** Kinds that one run mixes. */
const kindsMax = 6;

/** @param given repeats these; undefined draws them, and strikes at the first few calls that `aim` names */
export function createFaults(random: Chance, given: readonly Fault[] | undefined, aim?: Aim): Faults {
  const injected: Fault[] = [];
  const hit = new Set<string>();
  let healed = false;
  let deaths = 0;
  const kinds = new Set<FaultKind>();
  const wanted = random.whole(1, kindsMax);
  while (kinds.size < wanted) kinds.add(random.pick(faultKinds));
  /** Some runs are calm and some are wild. */
  const rate = random.pick([0.02, 0.006, 0.002, 0.0006]);
  /** Seldom calls are met more often, or many runs would be needed to meet them at all. */
  const seen = new Map<CallName, number>();
  const aimedAt = random.whole(1, frequent.has(aim?.call ?? '') ? 40 : 2);
  const listed = new Map(given?.map((fault) => [fault.call, fault]));

  return {
    at(call, name) {
      if (healed) return undefined;
      let fault: { kind: FaultKind; point: Point } | undefined;
      if (given) fault = listed.get(call);
      else {
        const count = (seen.get(name) ?? 0) + 1;
        seen.set(name, count);
        if (name === aim?.call && (count === aimedAt || count === 4 * aimedAt)) {
          injected.push({ call, kind: aim.kind, point: aim.point });
          hit.add(nameOf(name, aim.point, aim.kind));
          return aim;
        }
        if (!random.is(rate * (count < 4 ? 4 : 1))) return undefined;
        const point = random.pick(['before', 'after'] as const);
        const candidates = possible(name, point).filter((kind) => kinds.has(kind));
        if (candidates.length === 0) return undefined;
        const kind = random.pick(candidates);
        if (deadly.has(kind) && (deaths >= deathsMax || (kind === 'power' && !random.is(0.3)))) return undefined;
        if (deadly.has(kind)) deaths++;
        fault = { kind, point };
      }
      if (!fault || !possible(name, fault.point).includes(fault.kind)) return undefined;
      injected.push({ call, kind: fault.kind, point: fault.point });
      hit.add(nameOf(name, fault.point, fault.kind));
      return fault;
    },
    injected,
    hit,
    heal() {
      healed = true;
    },
  };
}
