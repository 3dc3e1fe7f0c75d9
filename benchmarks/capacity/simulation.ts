/**
 * How messages queue on their way: publishers' databases → a relay per service → the broker's queues → instances of a
 * consumer → their databases. A simulation by events: messages come at random (Poisson) with random keys; each place
 * serves those that have come, in their order, a batch at a time, as the relay's windows and the inbox's batches do; a
 * relay that dies is silent until its lease has run out. Deterministic by its seed.
 *
 * Places feed each other forwards only, so each is run to its end before the next, and no clock is needed.
 */

/** Processor time per message, µs; delays are times that pass without any. */
export interface Costs {
  readonly writeUs: number;
  readonly relayUs: number;
  readonly relayDatabaseUs: number;
  readonly brokerUs: number;
  readonly consumerUs: number;
  readonly consumerDatabaseUs: number;
  /** A commit that is flushed, and a round trip to a server. */
  readonly flushMs: number;
  readonly roundTripMs: number;
}

export interface Shape {
  readonly services: number;
  readonly queues: number;
  readonly consumers: number;
  /** Databases under the publishers and under the consumers, and cores of each. */
  readonly publisherDatabases: number;
  readonly consumerDatabases: number;
  readonly databaseCores: number;
}

export interface Outcome {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The busiest of each kind of place, share of its time. */
  readonly busy: Readonly<Record<string, number>>;
  readonly bottleneck: string;
}

/** Up to so many at once; more wait for the next. */
const windowMax = 500;
const batchMax = 100;
/** Of the relay: how soon another takes over when one dies (its lease, and how often those who stand by look). */
export const takeoverMs = 3_500;

export function simulate(costs: Costs, shape: Shape, { perSecond, seconds, seed = 1, dies }: { perSecond: number; seconds: number; seed?: number; dies?: { atMs: number } }): Outcome {
  const random = generator(seed);
  const cameMs: number[] = [];
  const keys: number[] = [];
  for (let ms = 0; ms < seconds * 1_000; ms += (-Math.log(1 - random()) * 1_000) / perSecond) {
    cameMs.push(ms);
    keys.push(Math.floor(random() * 0x7fffffff));
  }
  const count = cameMs.length;
  const busy: Record<string, number> = {};
  let times = Float64Array.from(cameMs);
  /** All messages through one kind of place, of which a key has one. */
  const pass = (name: string, of: number, place: Omit<Place, 'downFrom'>, down?: number): void => {
    const order = Array.from({ length: count }, (_, i) => i).sort((a, b) => times[a]! - times[b]!);
    const lines: number[][] = Array.from({ length: of }, () => []);
    for (const i of order) lines[keys[i]! % of]!.push(i);
    const after = new Float64Array(count);
    let most = 0;
    lines.forEach((line, n) => {
      most = Math.max(most, serve(line, times, after, { ...place, ...(n === 0 && down !== undefined && { downFrom: down }) }) / (seconds * 1_000));
    });
    busy[name] = Math.max(busy[name] ?? 0, most);
    times = after;
  };
  const { flushMs, roundTripMs } = costs;
  pass("a publisher's PostgreSQL", shape.publisherDatabases, { us: costs.writeUs + costs.relayDatabaseUs, servers: shape.databaseCores, most: 1, delayMs: flushMs + roundTripMs });
  // reads, announces, sends: three round trips and a flush before a window leaves
  pass('a relay', shape.services, { us: costs.relayUs, servers: 1, most: windowMax, delayMs: 3 * roundTripMs + flushMs }, dies?.atMs);
  pass("a queue's leader", shape.queues, { us: costs.brokerUs, servers: 1, most: windowMax, delayMs: roundTripMs + flushMs });
  pass('a consumer', shape.consumers, { us: costs.consumerUs, servers: 1, most: batchMax, delayMs: roundTripMs });
  pass("a consumer's PostgreSQL", shape.consumerDatabases, { us: costs.consumerDatabaseUs, servers: shape.databaseCores, most: batchMax, delayMs: 3 * roundTripMs + flushMs });
  const lasted = Array.from({ length: count }, (_, i) => times[i]! - cameMs[i]!).slice(Math.floor(count / 10)).sort((a, b) => a - b);
  const lastMs = times.reduce((a, b) => Math.max(a, b), 0);
  const [bottleneck] = Object.entries(busy).sort(([, a], [, b]) => b - a)[0]!;
  return {
    perSecond: count / Math.max(seconds, lastMs / 1_000),
    p50Ms: lasted[Math.floor(lasted.length * 0.5)] ?? NaN,
    p99Ms: lasted[Math.floor(lasted.length * 0.99)] ?? NaN,
    busy,
    bottleneck,
  };
}

interface Place {
  readonly us: number;
  readonly servers: number;
  readonly most: number;
  /** After it: others are served meanwhile. */
  readonly delayMs: number;
  /** Serves nothing from then on, until another has taken over. */
  readonly downFrom?: number;
}

/** @returns ms of work, per server */
function serve(line: readonly number[], cameMs: Float64Array, doneMs: Float64Array, { us, servers, most, delayMs, downFrom }: Place): number {
  const free = Array.from({ length: servers }, () => 0);
  let work = 0;
  for (let at = 0; at < line.length; ) {
    let server = 0;
    for (let i = 1; i < servers; i++) if (free[i]! < free[server]!) server = i;
    let begin = Math.max(free[server]!, cameMs[line[at]!]!);
    if (downFrom !== undefined && begin >= downFrom && begin < downFrom + takeoverMs) begin = downFrom + takeoverMs;
    let end = at + 1;
    while (end < line.length && end - at < most && cameMs[line[end]!]! <= begin) end++;
    const tookMs = ((end - at) * us) / 1_000;
    work += tookMs;
    free[server] = begin + tookMs;
    for (; at < end; at++) doneMs[line[at]!] = begin + tookMs + delayMs;
  }
  return work / servers;
}

/** As many of each as keep every place below this share of its time. */
export function shapeFor(costs: Costs, perSecond: number, share: number, databaseCores: number): Shape {
  const need = (us: number, cores = 1): number => Math.max(1, Math.ceil((perSecond * us) / 1e6 / share / cores));
  return {
    services: need(costs.relayUs),
    queues: need(costs.brokerUs),
    consumers: need(costs.consumerUs),
    publisherDatabases: need(costs.writeUs + costs.relayDatabaseUs, databaseCores),
    consumerDatabases: need(costs.consumerDatabaseUs, databaseCores),
    databaseCores,
  };
}

/** Where one of each stands first, and at what rate: there messages come faster than they leave. */
export function firstBottleneck(costs: Costs, shape: Shape): { perSecond: number; place: string } {
  let [low, high] = [10, 1e7];
  while (high / low > 1.02) {
    const middle = Math.sqrt(low * high);
    const { busy } = simulate(costs, shape, { perSecond: middle, seconds: Math.min(1, 20_000 / middle) });
    if (Math.max(...Object.values(busy)) < 1) low = middle;
    else high = middle;
  }
  return { perSecond: low, place: simulate(costs, shape, { perSecond: low, seconds: Math.min(1, 20_000 / low) }).bottleneck };
}

/** Mulberry32. */
function generator(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
