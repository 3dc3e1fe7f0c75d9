import { asError } from '../contract/errors.ts';
import type { Logger, SignalMap, SignalName, Signals } from '../contract/signals.ts';

/** The default: warnings and errors to the console, nothing else. A body is never logged. */
export const consoleLogger: Logger = {
  debug() {},
  info() {},
  warn: (details, text) => console.warn(line('warning', details, text)),
  error: (details, text) => console.error(line('error', details, text)),
};

function line(level: string, details: object, text = ''): string {
  const rest = Object.entries(details)
    .map(([name, value]) => `${name}=${shown(value)}`)
    .join(' ');
  // One line, whoever wrote the text: a line break in it could forge another entry.
  return `waybill ${level}: ${text}${rest === '' ? '' : ` (${rest})`}`.replaceAll(controls, ' ');
}

function shown(value: unknown): string {
  try {
    return typeof value === 'object' || typeof value === 'symbol' ? asError(value).message : String(value);
  } catch {
    return 'something that cannot be printed';
  }
}

// eslint-disable-next-line no-control-regex
const controls = /[\u0000-\u001f\u007f\u2028\u2029]+/g;

/** One kind of line is written at most this often; what is left out is counted in the next one. */
const quietMs = 10_000;
/** Kinds of lines remembered; past it the oldest is forgotten. */
const kindsMax = 1_000;

const slotTexts: Record<SignalMap['log-slot']['state'], string> = {
  created: 'was made: at first, or because it had vanished; until it is read the ledger is',
  streaming: 'is read: messages come out of the log',
  lagging: 'keeps more of the log than the server plans for: the relay or its broker is behind',
  lost: 'did not keep all that is needed: what is missing is read from the ledger',
  away: 'cannot be read now: messages come from the ledger until it can',
  left: 'is read by nobody and keeps the log for ever: drop it (pg_drop_replication_slot)',
};

/** Says in the log what somebody should know. Repetition is held back, so that an outage is a line and not a flood. */
export function logSignals(signals: Signals, logger: Logger, now: () => number): void {
  const last = new Map<string, { atMs: number; held: number }>();
  const say = (level: 'info' | 'warn' | 'error', kind: string, details: object, text: string): void => {
    const before = last.get(kind);
    if (before && now() - before.atMs < quietMs) {
      before.held++;
      return;
    }
    last.delete(kind);
    last.set(kind, { atMs: now(), held: 0 });
    if (last.size > kindsMax) last.delete(last.keys().next().value!);
    logger[level](before && before.held > 0 ? { ...details, alsoHeldBack: before.held } : details, text);
  };
  const hear = <N extends SignalName>(
    name: N,
    level: 'info' | 'warn' | 'error',
    tell: (detail: SignalMap[N]) => [kind: string, text: string, details: object],
  ): void => {
    signals.on(name, (detail) => {
      const [kind, text, details] = tell(detail);
      say(level, `${name} ${kind}`, details, text);
    });
  };

  hear('failed', 'error', (d) => [
    `${d.subscription} ${d.type}`,
    `${d.subscription}: message ${d.id} (${d.type}) has failed for good after ${d.attempts} ${d.attempts === 1 ? 'run' : 'runs'}; see failures`,
    { error: d.error },
  ]);
  hear('retrying', 'warn', (d) => [
    `${d.subscription} ${d.type}`,
    `${d.subscription}: message ${d.id} (${d.type}) failed, attempt ${d.attempt} of ${d.attempts}; it will be retried`,
    { error: d.error },
  ]);
  hear('unroutable', 'error', (d) => [d.type, `no queue takes ${d.type}: message ${d.id} is kept in failures`, {}]);
  hear('refused', 'error', (d) => [d.type, `the broker refused ${d.type}, message ${d.id}: ${d.reason}`, {}]);
  signals.on('paused', ({ subscription, reason, error }) => {
    // Nobody need be warned of what they asked for, with pause() or unsubscribe().
    const level = reason === 'asked' ? 'info' : 'warn';
    say(level, `paused ${subscription} ${reason}`, error === undefined ? {} : { error }, `${subscription} pauses (${reason})`);
  });
  hear('relay-paused', 'warn', (d) => ['', 'the relay pauses: what was committed is sent later', { error: d.error }]);
  hear('extra-fields', 'warn', (d) => [
    d.type,
    `${d.type} was published with fields that its schema drops: ${d.paths.join(', ')}`,
    {},
  ]);
  hear('version-unread', 'warn', (d) => [
    d.type,
    `${d.type} was published and nobody takes it; who takes ${d.older} gets nothing: upgrade receivers first, or add a downcast`,
    {},
  ]);
  hear('slow-handler', 'warn', (d) => [
    d.subscription,
    `${d.subscription}: the handler waited ${Math.round(d.tookMs)} ms inside a shared transaction; it has one of its own from now on`,
    {},
  ]);
  hear('slow-transaction', 'warn', (d) => ['', `a transaction held the store for ${Math.round(d.heldMs)} ms`, {}]);
  signals.on('log-slot', ({ slot, state, error }) => {
    const level = state === 'created' || state === 'streaming' ? 'info' : 'warn';
    say(level, `log-slot ${state}`, error === undefined ? {} : { error }, `the replication slot ${slot} ${slotTexts[state]}`);
  });
  hear('wal-pinned', 'warn', (d) => ['', `a read kept open makes the write-ahead log grow: ${d.bytes} bytes`, {}]);
  hear('ledger', 'warn', (d) => [`${d.source} ${d.error.code}`, d.error.message, { code: d.error.code }]);
  hear('lost', 'error', (d) => [
    `${d.subscription} ${d.source}`,
    `${d.subscription}: the broker has lost ${d.count} messages of ${d.source} that it had confirmed; bring them back with operations(bus).subscriptions.replay('${d.subscription}', { from })`,
    { firstId: d.firstId, from: new Date(d.fromMs).toISOString(), until: new Date(d.untilMs).toISOString() },
  ]);
  hear('projection-failed', 'error', (d) => [
    d.projection,
    `the projection ${d.projection} cannot take event ${d.version} of ${d.stream}, attempt ${d.attempt}; it stands before it and tries again`,
    { error: d.error },
  ]);
  hear('trouble', 'error', (d) => [d.where, `${d.where} failed`, { error: d.error }]);
}
