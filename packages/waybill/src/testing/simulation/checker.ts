/** The invariants, over the story of a finished run: whatever it was that ran. Streaming sets and maps, O(n log n). */
import { checkSagas } from './check-sagas.ts';
import type { Applied, Dead, Sent, Story, Subscribed, Violation } from './story.ts';

export const invariants: Readonly<Record<string, string>> = {
  I1: 'no loss: durable at its source and subscribed, so it has its effect or is dead',
  I2: 'no phantom: an effect or a dead letter is of a message that its source has, with the same bytes',
  I3: 'exactly once: one effect of a message in a subscription',
  I4: 'atomic: the business row is there exactly when its messages are',
  I5: 'key order: effects of a key follow the order of its commits',
  I6: 'no stale overwrite: the version of a key never goes back',
  I7: 'acknowledged only after effect, dead letter or stored payload',
  I8: 'published only after the confirmation',
  I9: 'bounded retries, and trouble of the infrastructure is no attempt',
  I10: 'a dead letter is complete: original bytes, reason, attempts',
  I11: 'no innocents: dead for a crash only if it crashed alone',
  I12: 'conservation: what was published is applied, dead or overtaken, and nothing else',
  I13: 'fencing: nobody writes whose lease another has taken since',
  I14: 'horizon: what was taken on is remembered for as long as it could come again',
  I15: 'a saga ends, with everything done or everything taken back in reverse, each once',
  I16: 'timers: never early, never lost, once',
  I17: 'at most one reply, to whom it belongs',
  I18: 'bounded growth: nothing is left over',
  I19: 'liveness: once faults stop, it drains',
  I20: 'isolation: what fails of one key does not keep the messages of others waiting',
  I21: 'graceful stop: what was finished is acknowledged',
  I22: 'loss detection: what a broker lost is published again from the ledger',
};

/** Violations of one kind that are listed; the rest would only be more of it. */
const listedMax = 3;

/** Its last crashes, in which nothing else may have been in flight, before a message is given up for them. */
const crashesAloneMin = 2;
/**
 * From the commit to the effect, for a message of a key with which nothing is wrong: twice what the slowest takes when
 * nothing is wrong at all (277 ms of virtual time in 2,431 effects; the relay alone may sleep for 250 ms).
 */
const isolatedMs = 550;
/** Lines at either end of a long story. */
const toldMax = 10;

export function check(story: Story): Violation[] {
  const found = [...story.seen];
  const report = (invariant: string, what: string, id?: string): void => {
    if (found.filter((other) => other.invariant === invariant).length < listedMax) found.push({ invariant, what, ...(id !== undefined && { id }) });
  };
  const sent = new Map<string, Sent>();
  for (const message of story.sent) sent.set(keyOf(message, message.type), message);
  const bySourceAndId = group(story.sent, (message) => keyOf(message));
  checkOperations(story, bySourceAndId, report);
  for (const subscription of story.subscriptions) {
    const applied = story.applied.filter((one) => one.subscription === subscription.name).sort((a, b) => a.position - b.position);
    const dead = story.dead.filter((one) => one.subscription === subscription.name);
    checkEffects({ subscription, applied, dead, sent, bySourceAndId, story, report });
    if (subscription.order === 'by-key') checkKeyOrder(subscription, applied, { sent, late: story.late }, report);
    if (subscription.order === 'latest') checkLatest(subscription, applied, report);
  }
  checkDead(story, bySourceAndId, report);
  checkRuns(story, report);
  checkVersions(story, report);
  checkIsolation(story, bySourceAndId, report);
  checkSagas(story, report);
  for (const [first, ...others] of story.together) {
    for (const message of story.sent) {
      if (message.type !== first) continue;
      const missing = others.filter((type) => !sent.has(keyOf(message, type)));
      if (missing.length > 0) report('I4', `${first} is in the ledger, ${missing.join(', ')} is not`, message.id);
    }
  }
  for (const id of story.cancelled) {
    if (story.sent.some((message) => message.id === id)) report('I16', `${id} was taken back and left all the same`, id);
  }
  for (const { id, dueMs, committedMs } of story.sent) {
    if (dueMs !== undefined && committedMs < dueMs) report('I16', `${id} left ${dueMs - committedMs} ms before it was due`, id);
  }
  for (const what of story.left) report('I18', what);
  return found;
}

type Report = (invariant: string, what: string, id?: string) => void;

/** I3 and I4 at the sender: an operation's rows and its messages are there together, and once. */
function checkOperations({ operations, cancelled, perhapsCancelled, sent }: Story, known: ReadonlyMap<string, readonly Sent[]>, report: Report): void {
  const gone = new Set([...cancelled, ...perhapsCancelled]);
  const ids = new Set(sent.map((message) => message.id));
  const owned = new Set<string>();
  for (const { name, commits, once, acknowledged } of operations) {
    if (once && commits.length > 1) report('I3', `${name} was asked for once and done ${commits.length} times`);
    if (acknowledged && commits.length === 0) report('I1', `${name} was acknowledged and is not there`);
    for (const id of commits.flat()) {
      owned.add(id);
      if (!ids.has(id) && !gone.has(id)) report('I4', `${name} is there and its message is not`, id);
    }
  }
  for (const message of sent) {
    if (message.operation !== undefined && !owned.has(message.id)) report('I4', `${message.type} is in the ledger, and what it tells of is not in the database`, message.id);
  }
  for (const copies of known.values()) {
    const types = copies.map((copy) => copy.type);
    if (new Set(types).size !== types.length) report('I3', `stands in the ledger ${types.length} times`, copies[0]!.id);
  }
}

/** I5 at the source: what an operation says of a key is one more than what the one before said; a stream's versions have no gap. */
function checkVersions({ sent, gapless }: Story, report: Report): void {
  const last = new Map<string, number>();
  for (const { source, type, key, n, id, operation } of sent.toSorted((a, b) => a.position - b.position)) {
    if (operation === undefined || n === 0) continue;
    const lane = `${source} ${type} ${key}`;
    const before = last.get(lane) ?? 0;
    if (n <= before) report('I5', `${key} ${n} was published after ${before}`, id);
    else if (gapless.has(type) && n !== before + 1) report('I5', `${key} has ${n} after ${before}: ${n - before - 1} are not there`, id);
    last.set(lane, n);
  }
}

/** I20: nobody waits for what fails of another key. */
function checkIsolation({ troubled, applied, subscriptions }: Story, known: ReadonlyMap<string, readonly Sent[]>, report: Report): void {
  if (!troubled) return;
  const projections = new Set(subscriptions.filter(({ attemptsMax }) => attemptsMax === Infinity).map(({ name }) => name)); // events of all keys in one line
  for (const { subscription, source, id, key, atMs } of applied) {
    const [message] = known.get(`${source} ${id}`) ?? [];
    if (!message || atMs === undefined || troubled.has(key) || projections.has(subscription)) continue;
    const tookMs = atMs - message.committedMs;
    if (tookMs > isolatedMs) report('I20', `${subscription} came to it after ${Math.round(tookMs)} ms, and nothing is wrong with ${key}`, id);
  }
}

interface Effects {
  readonly subscription: Subscribed;
  readonly applied: readonly Applied[];
  readonly dead: readonly Dead[];
  readonly sent: ReadonlyMap<string, Sent>;
  readonly bySourceAndId: ReadonlyMap<string, readonly Sent[]>;
  readonly story: Story;
  readonly report: Report;
}

function checkEffects({ subscription, applied, dead, bySourceAndId, story, report }: Effects): void {
  const { name, types, order } = subscription;
  const effects = group(applied, (one) => keyOf(one));
  const parked = new Set(dead.map((one) => keyOf(one)));
  /** Of each lane: what is older than this is stale. A version that is gone at its source stands here, and its number may be given again. */
  const staleBelow = new Map<string, number>();
  for (const one of applied) {
    const lane = laneOf(one);
    staleBelow.set(lane, Math.max(one.n + (story.gone?.has(keyOf(one)) ? 1 : 0), staleBelow.get(lane) ?? 0));
  }
  for (const [key, copies] of effects) {
    const { id } = copies[0]!;
    if (copies.length > 1) report('I3', `${name} applied it ${copies.length} times`, id);
    if (story.poison.has(id)) report('I3', `${name} applied what kills its process`, id);
    if (parked.has(key)) report('I10', `${name} applied it, and it is in failures too`, id);
    const original = bySourceAndId.get(key)?.[0];
    if (!original) {
      if (!story.gone?.has(key)) report('I2', `${name} applied what was never sent`, id);
    } else if (original.n !== copies[0]!.n || original.key !== copies[0]!.key) report('I2', `${name} applied something else than what was sent`, id);
    const { caused } = copies[0]!;
    if (caused !== undefined && !story.sent.some((message) => message.id === caused)) report('I4', `${name}: its effect is there, what was published with it is not`, id);
  }
  const causes = new Set(applied.map((one) => one.caused));
  for (const message of story.sent) {
    if (message.by === name && !causes.has(message.id)) report('I4', `${name}: it was published with an effect that is not there`, message.id);
  }
  for (const [key, copies] of bySourceAndId) {
    const message = copies.find((copy) => types.includes(copy.type));
    if (!message || effects.has(key) || parked.has(key)) continue;
    if (story.refused.has(key)) continue; // at its sender, checked below
    if (order === 'latest' && (staleBelow.get(laneOf(message)) ?? 0) > message.n) continue;
    report('I1', `${name} has neither its effect nor a dead letter (${message.type} ${message.key} ${message.n})`, message.id);
  }
}

function laneOf({ source, type, key }: { readonly source: string; readonly type: string; readonly key: string }): string {
  return `${source} ${baseOf(type)} ${key}`;
}

/** A key's effects rise, and each is of the next commit that is not dead. */
function checkKeyOrder({ name }: Subscribed, applied: readonly Applied[], { sent, late }: { sent: ReadonlyMap<string, Sent>; late: ReadonlySet<string> | undefined }, report: Report): void {
  const last = new Map<string, Sent>();
  for (const effect of applied) {
    const message = sent.get(keyOf(effect, effect.type));
    if (!message || late?.has(`${name} ${message.id}`)) continue;
    const lane = `${message.source} ${message.key}`;
    const before = last.get(lane);
    if (before && before.position > message.position) report('I5', `${name}: ${message.key} ${message.n} was applied after ${before.n}`, message.id);
    else last.set(lane, message);
  }
}

function checkLatest({ name }: Subscribed, applied: readonly Applied[], report: Report): void {
  const last = new Map<string, number>();
  for (const { source, type, key, n, id } of applied) {
    const lane = laneOf({ source, type, key });
    const before = last.get(lane) ?? 0;
    if (n < before) report('I6', `${name}: ${key} went back from ${before} to ${n}`, id);
    last.set(lane, Math.max(before, n));
  }
}

function checkDead({ dead, doomed, crashedAlone, refused, subscriptions }: Story, known: ReadonlyMap<string, readonly Sent[]>, report: Report): void {
  const seen = new Set<string>();
  for (const row of dead) {
    const { subscription, id, code, attempts, digest } = row;
    const where = subscription ?? 'the sender';
    // At the sender the older form of a message is one of its own.
    const key = `${where} ${keyOf(row, subscription === undefined ? row.type : undefined)}`;
    if (seen.has(key)) report('I10', `${where} has two dead letters of it`, id);
    seen.add(key);
    const originals = known.get(keyOf(row));
    if (!originals) report('I2', `${where} has a dead letter of what was never sent`, id);
    else if (!originals.some((message) => message.digest === digest)) report('I10', `${where}: the bytes of its dead letter are not those that were sent`, id);
    if (subscription === undefined) {
      if (!refused.has(keyOf(row)) && code !== 'UNROUTABLE') report('I12', `it is in the sender's failures (${code}), and nobody refused it`, id);
      continue;
    }
    const most = subscriptions.find((one) => one.name === subscription)?.attemptsMax;
    const expected = doomed.get(id) === 'rejects' ? 1 : most;
    if (code === 'HANDLER_CRASHED') {
      const alone = crashedAlone.get(`${subscription} ${id}`) ?? 0;
      if (alone < crashesAloneMin) report('I11', `${where} gave it up for crashes, and it was alone in ${alone} of them`, id);
    } else if (!doomed.has(id)) report('I9', `${where} gave it up (${code}) although its handler can do it`, id);
    else if (attempts !== expected) report('I10', `${where} gave it up after ${attempts} runs, not ${expected}`, id);
  }
}

/** I9: no run too many, and none before its pause is over. */
function checkRuns({ runs, subscriptions }: Story, report: Report): void {
  const byName = new Map(subscriptions.map((one) => [one.name, one]));
  const last = new Map<string, number>();
  for (const { subscription, id, attempt, atMs } of runs) {
    const { attemptsMax, pauseMs } = byName.get(subscription)!;
    if (attempt > attemptsMax) report('I9', `${subscription} ran it for the ${attempt}th time, of at most ${attemptsMax}`, id);
    const before = last.get(`${subscription} ${id} ${attempt - 1}`);
    if (before !== undefined && atMs - before < pauseMs(attempt)) {
      report('I9', `${subscription} ran it again after ${Math.round(atMs - before)} ms, and was to wait for ${pauseMs(attempt)}`, id);
    }
    // A run that was undone for another's sake happens again under its number: the first of them is the last before a pause.
    if (!last.has(`${subscription} ${id} ${attempt}`)) last.set(`${subscription} ${id} ${attempt}`, atMs);
  }
}

/** A violation, and the shortest story of its message. */
export function tell(violation: Violation, story: Story): string {
  const { invariant, what, id } = violation;
  const lines = id === undefined ? [] : shortened(story.told.get(id) ?? []);
  return [`${invariant} ${invariants[invariant] ?? ''}`, `   ${id === undefined ? '' : `${id}: `}${what}`, ...lines.map((line) => `     ${line}`)].join('\n');
}

/** The beginning and the end tell most. */
function shortened(lines: readonly string[]): readonly string[] {
  return lines.length <= 2 * toldMax ? lines : [...lines.slice(0, toldMax), `… ${lines.length - 2 * toldMax} more`, ...lines.slice(-toldMax)];
}

function keyOf({ source, id }: { readonly source: string; readonly id: string }, type?: string): string {
  return type === undefined ? `${source} ${id}` : `${source} ${id} ${type}`;
}

/** A contract's name without its version: what a watermark is kept for. */
function baseOf(type: string): string {
  return type.replace(/\.v\d+$/, '');
}

function group<T>(list: readonly T[], key: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of list) {
    const at = key(one);
    const there = groups.get(at);
    if (there) there.push(one);
    else groups.set(at, [one]);
  }
  return groups;
}
