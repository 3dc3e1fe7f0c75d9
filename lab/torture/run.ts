/**
 * One torture run: servers and processes are started, tormented, left in peace until nothing is to be done any more, and
 * then what they said and what they hold is judged. Nothing of the supervisor's own is trusted to be there at the right
 * moment: the history lies in a file, the state is read when all are dead.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tell } from 'waybill/testing';
import { type Ground, type Pair, prepareGround } from './ground.ts';
import type { Line } from './history.ts';
import { holdOpen } from './hold-open.ts';
import { judge } from './judge.ts';
import { operate } from './operator.ts';
import { createProcesses } from './processes.ts';
import type { Role } from './role.ts';
import { leftToDo, readState, type State } from './state.ts';
import { type Outcome, stillness, troublesOf, tryOut } from './trial.ts';

export interface TortureOptions {
  readonly pair: Pair;
  /** History and state are left there. */
  readonly folder: string;
  readonly seconds: number;
  /** In [0, 1). */
  readonly random: () => number;
  /** @default 90,000 */
  readonly freezeMaxMs?: number;
  /** Stores on a file system of their own, which gets full and loses its power. @default false */
  readonly ownDisk?: boolean;
  /** Settings of PostgreSQL, beside those that are right. */
  readonly unsafe?: Readonly<Record<string, string>>;
  /** Queues are deleted and backups put back. @default false */
  readonly losses?: boolean;
  /** Fewer processes, for a short run. @default false */
  readonly small?: boolean;
  /** Only faults whose names match. @default all */
  readonly only?: RegExp | undefined;
  readonly onProgress?: (line: string) => void;
}

export interface TortureReport extends Omit<Outcome, 'left'> {
  readonly published: number;
  readonly effects: number;
  readonly orders: number;
  /** Taken back before they left. */
  readonly takenBack: number;
  /** What queues that were deleted, and inboxes that were restored, had cost before it was published again: messages of subscriptions. */
  readonly missing: number;
  /** Each with its story. */
  readonly violations: readonly string[];
  /** What processes complained of, with counts; the most frequent first. */
  readonly troubles: readonly (readonly [string, number])[];
  readonly state: State;
  readonly history: readonly Line[];
}

const program = join(import.meta.dirname, 'process.ts');

export async function torture(options: TortureOptions): Promise<TortureReport> {
  const { pair, folder, random, small = false } = options;
  const ground = await prepareGround({ pair, folder, ownDisk: options.ownDisk ?? false, unsafe: options.unsafe });
  const processes = createProcesses<Told>({ file: join(folder, 'history.jsonl'), random, programOf: () => program });
  const holding = new AbortController();
  const { postgres } = ground;
  const held = postgres ? Promise.all(['bank', 'postgres'].map((database) => holdOpen(postgres.server, database, holding.signal))) : undefined;
  try {
    const { left, ...outcome } = await tryOut<Told>({
      ground,
      processes,
      random,
      seconds: options.seconds,
      freezeMaxMs: options.freezeMaxMs ?? 90_000,
      ...(options.losses && { losses: ground, operate: () => operate(ground, processes) }),
      only: options.only,
      roles: rolesOn(ground, small),
      first: ({ service }) => service !== 'bank', // a queue holds what was sent since it was made
      calm: (role) => ({ ...role, publishes: false, selfKill: 0, throws: 0 }),
      leftToDo: () => leftToDo(ground),
      onProgress: options.onProgress,
    });
    const state = await readState(ground);
    await writeFile(join(folder, 'state.json'), JSON.stringify(state));
    const { history } = processes;
    const { violations, story } = judge(history, state);
    return {
      ...outcome,
      published: state.ledger.length,
      effects: state.effects.length,
      orders: state.submitted.length,
      takenBack: story.cancelled.length,
      missing: history.reduce((sum, { what, ids = [] }) => sum + (what === 'missing' ? ids.length : 0), 0),
      violations: [...(left === undefined ? [] : [stillness(left)]), ...violations.map((violation) => tell(violation, story))],
      troubles: troublesOf(processes),
      state,
      history,
    };
  } finally {
    holding.abort();
    await processes.killAll();
    await held;
    await ground.close();
  }
}

type Told = Omit<Role, 'by'>;

function rolesOn(ground: Ground, small: boolean): Map<string, Told> {
  const roles = new Map<string, Told>();
  const add = (service: Role['service'], instances: number, more: Partial<Role> = {}): void => {
    for (let i = 1; i <= instances; i++) {
      const usual = { service, publishes: false, relay: 'inline' as const, selfKill: 0.0004, throws: 0.003, pauseMs: 25 };
      roles.set(`${service} ${i}`, { ...usual, store: ground.store(service), transport: ground.transport, ...more });
    }
  };
  add('shop', 2);
  add('ordering', small ? 1 : 2);
  add('works', small ? 1 : 2);
  add('bank', small ? 1 : 2, { publishes: true });
  const last = small ? 'bank 1' : 'bank 2';
  roles.set(last, { ...roles.get(last)!, relay: 'off' }); // leaves it to the others
  roles.set('bank relay', { ...roles.get('bank 1')!, relay: 'inline', publishes: false });
  return roles;
}
