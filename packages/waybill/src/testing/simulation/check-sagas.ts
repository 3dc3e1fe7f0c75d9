/** I15 and I16 of sagas, over the log that each instance kept of its steps, and what others did for it. */
import type { Conversation, Entry, Story } from './story.ts';

type Report = (invariant: string, what: string, id?: string) => void;

/** What ends the part of a saga in which it goes forward. */
const turns: ReadonlySet<Entry['does']> = new Set(['charged', 'refused', 'cancelled', 'timeout']);
/** A step that is said to be done before its outcome is known, by the entry that says so. */
const doneBy: Readonly<Partial<Record<Entry['does'], 'reserve' | 'charge'>>> = { start: 'reserve', reserved: 'charge' };
/** Of the row that the other side keeps. */
const done = 1;
const released = 2;

export function checkSagas(story: Story, report: Report): void {
  const events = new Map(story.sent.filter(({ kind }) => kind === 'event').map(({ source, id }) => [`${source} ${id}`, id]));
  const sagas = new Map(story.sagas.map((saga) => [saga.key, saga]));
  for (const saga of story.sagas) {
    checkLog(saga, report);
    checkEnd(saga, report);
    for (const { id, source, does } of saga.log) {
      if ((does === 'start' || does === 'again' || does === 'cancelled') && !events.has(`${source} ${id}`)) report('I2', `${told(saga)} took what was never sent`, id);
    }
  }
  for (const { id, key } of story.starts) {
    const saga = sagas.get(key);
    if (!saga) report('I1', `it began no saga (${key})`, id);
    else if (!hasEnded(saga) && saga.status !== 'parked' && !saga.log.some((entry) => entry.id === id)) report('I1', `${told(saga)} has not taken it`, id);
  }
  checkSent(story, sagas, report);
}

/** What it sent stands in the ledger exactly if the step that sent it is in its log. */
function checkSent({ asked }: Story, sagas: ReadonlyMap<string, Conversation>, report: Report): void {
  const noted = new Set([...sagas.values()].flatMap(({ log }) => log.flatMap(({ caused }) => caused ?? [])));
  const there = new Set(asked.map(({ id }) => id));
  for (const id of there) if (!noted.has(id)) report('I4', 'a saga sent it in a step that is not there', id);
  for (const id of noted) if (!there.has(id)) report('I4', 'a saga took the step that sent it, and it is not in the ledger', id);
}

function checkLog(saga: Conversation, report: Report): void {
  const { log, patienceMs } = saga;
  const seen = new Set<string>();
  let turned: Entry | undefined;
  if (log[0]?.does !== 'start') report('I15', `${told(saga)} did not begin at its beginning`, log[0]?.id);
  for (const [at, entry] of log.entries()) {
    const { id, source, does, atMs, setMs } = entry;
    const isOwn = does === 'timeout' || does.startsWith('undo ');
    if (!isOwn && seen.has(`${source} ${id}`)) report('I3', `${told(saga)} took it twice`, id);
    seen.add(`${source} ${id}`);
    if (at > 0 && does === 'start') report('I15', `${told(saga)} began twice`, id);
    if (turned && !does.startsWith('undo ')) report('I15', `${told(saga)} went on (${does}) after ${turned.does}`, id);
    if (!turned && does.startsWith('undo ')) report('I15', `${told(saga)} took back (${does}) what goes on`, id);
    if (does === 'timeout' && atMs < setMs + patienceMs) report('I16', `${told(saga)}: its timeout came ${Math.round(setMs + patienceMs - atMs)} ms early`, id);
    if (turns.has(does)) turned = entry;
  }
}

function checkEnd(saga: Conversation, report: Report): void {
  const { status, log, held, parked, excused } = saga;
  const undone = log.flatMap(({ does }) => (does.startsWith('undo ') ? [does.slice('undo '.length)] : []));
  const steps = log.flatMap(({ does }) => doneBy[does] ?? []);
  const last = log.at(-1)?.id;
  if (status === 'completed') {
    if (undone.length > 0) report('I15', `${told(saga)} is completed, and something was taken back`, last);
    if (held.reserve !== done || held.charge !== done) report('I15', `${told(saga)} is completed, and not everything is done: ${JSON.stringify(held)}`, last);
  } else if (status === 'compensated') {
    if (undone.join() !== steps.toReversed().join()) report('I15', `${told(saga)} did ${steps.join()} and took back ${undone.join() || 'nothing'}, not the reverse, each once`, last);
    for (const step of steps) if (held[step] !== released && !excused) report('I15', `${told(saga)} is compensated, and its ${step} is not`, last);
  } else if (status !== 'parked' || !parked) report('I15', `${told(saga)} is ${status} and has not ended`, last);
}

function hasEnded({ status }: Conversation): boolean {
  return status === 'completed' || status === 'compensated';
}

function told({ key }: Conversation): string {
  return `saga ${key}`;
}
