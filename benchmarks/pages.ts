/**
 * Results → pages: `docs/performance.md` with its chart, and `docs/capacity.md`. Both are written by `npm run bench` when
 * it keeps results, or alone: `node benchmarks/pages.ts`. What has no result says so.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Shape } from './capacity/simulation.ts';
import type { Report } from './report.ts';
import type { Burst, Ran, Step } from './workloads/workloads.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const results = `${root}benchmarks/results`;

interface Kept extends Report {
  readonly quick: boolean;
  readonly node: string;
  readonly machine: string;
  readonly commit: string;
  readonly at: string;
}

function kept(): Kept[] {
  if (!existsSync(results)) return [];
  return readdirSync(results)
    .filter((file) => file.endsWith('.json'))
    .sort()
    .map((file) => JSON.parse(readFileSync(`${results}/${file}`, 'utf8')) as Kept);
}

export function writePages(): void {
  const all = kept();
  writeFileSync(`${root}docs/performance.svg`, chart(all));
  writeFileSync(`${root}docs/performance.md`, performancePage(all));
  writeFileSync(`${root}docs/capacity.md`, capacityPage(all));
}

// --- performance ------------------------------------------------------------------------------------------------------

function performancePage(all: readonly Kept[]): string {
  const rows = all.flatMap(({ name, ratios, correct, quick, commit }) =>
    ratios.map(({ beside, measured, goal, holds }) => `| ${name}${quick ? ' (quick)' : ''} | ${beside} | ${measured} | ${goal} | ${correct ? (holds ? 'holds' : 'missed') : 'void: its own check failed'} | ${commit} |`),
  );
  const machines = [...new Set(all.map(({ machine, node }) => `${machine}, Node ${node}`))];
  return `# What it costs, measured

<!-- Written by \`npm run bench\` out of benchmarks/results; do not edit. -->

Every figure is a ratio to a limit or a peer that ran in turn with it, in one run; three rounds or more, medians. A benchmark first proves
itself: effects are counted, order per key is checked, and a figure whose check failed is void. \`npm run bench -- NAME\` repeats one,
\`--quick\` in about a minute. Absolute figures (messages a second, processor time per process) stand in \`benchmarks/results\`.

${machines.length === 0 ? 'Nothing has been measured yet.' : `Machine: ${machines.join('; ')}.`}

![Measured beside the goal](performance.svg)

| benchmark | beside | measured | goal | | commit |
|---|---|---|---|---|---|
${rows.join('\n')}
${costs(all)}${peers(all)}${otherLoads(all)}${atSize(all)}${atRest(all)}
What was tried for the embedded default, and what limits it: [performance-embedded](performance-embedded.md). Large bodies, few and many keys, what comes after a kill,
bursts and slow handlers: [performance-workloads](performance-workloads.md). What the figures mean for
the size of a system: [capacity](capacity.md).
`;
}

/** Processor time per message, by process. */
function costs(all: readonly Kept[]): string {
  const rows = all.flatMap(({ name, cpuMicrosecondsPerMessage: cpu }) =>
    typeof cpu !== 'object' || cpu === null
      ? []
      : Object.entries(cpu as Record<string, Cpu>).map(([way, { node, rabbit, postgres }]) => `| ${name} | ${way} | ${node} | ${rabbit} | ${postgres} |`),
  );
  if (rows.length === 0) return '';
  return `
Processor time per message in microseconds, by process:

| benchmark | way | Node | RabbitMQ | PostgreSQL |
|---|---|---|---|---|
${rows.join('\n')}
`;
}

interface Latency {
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  readonly messages: number;
  readonly notMeasured?: string;
}

/** Of `end-to-end`; a quick run has one of them. */
const paces = ['1 %', '50 %', '80 %'];

interface Contender {
  readonly name: string;
  readonly settings: string;
  readonly guarantee: string;
  readonly handledPerSecond: number;
  readonly sentPerSecond: number;
  readonly latency: Readonly<Record<string, Latency>>;
  readonly lost: number;
  readonly doubled: number;
}

/** Each at its defaults and at the best settings found. */
function peers(all: readonly Kept[]): string {
  return all
    .filter(({ contenders }) => Array.isArray(contenders))
    .map(({ name, contenders, payloadBytes }) => {
      const rows = (contenders as Contender[]).map(({ name: of, settings, guarantee, handledPerSecond, sentPerSecond, latency, lost, doubled }) => {
        const times = paces.map((pace) => latency[pace] ?? {}).map(({ p50Ms, p99Ms, notMeasured }: Partial<Latency>) => (p50Ms === undefined ? 'not measured' : `${p50Ms} / ${p99Ms ?? '–'}${notMeasured === undefined ? '' : ' *'}`));
        return `| ${of} | ${settings} | ${guarantee} | ${handledPerSecond} | ${sentPerSecond} | ${times.join(' | ')} | ${lost} | ${doubled} |`;
      });
      return `
From the commit to the effect, messages of ${String(payloadBytes ?? 200)} B (${name}): a backlog handled per second; then p50 / p99 in ms at a share of what each can
send and handle at once. – : fewer than 20 messages; * : it did not keep up with that pace.

| | settings | guarantee | handled/s | sent/s | ${paces.map((pace) => `at ${pace}`).join(' | ')} | lost | doubled |
|---|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}
`;
    })
    .join('');
}

/** Each published, relayed and handled by a process each, one after another. */
function otherLoads(all: readonly Kept[]): string {
  const kept = all.find((one) => one.name === 'workloads');
  if (!kept) return '';
  const found = kept['found'] as Record<string, { ran: Record<string, Ran>; bursts: Record<string, Burst> }>;
  const step = (one: Step | undefined): string => (one ? `${one.perSecond} / ${one.megabytesPerSecond} | ${one.cpuUsPerMessage} | ${one.peakMegabytes}` : '– | – | –');
  const rows = Object.entries(found).flatMap(([kind, { ran }]) => Object.entries(ran).map(([name, one]) => `| ${kind} | ${name} | ${step(one.publish)} | ${step(one.relay)} | ${step(one.handle)} | ${one.servers?.postgres ?? '–'} | ${one.servers?.rabbit ?? '–'} |`));
  const idleSeconds = Number(kept['idleMs']) / 1_000;
  const bursts = Object.entries(found).flatMap(([kind, { bursts: of }]) => Object.entries(of).map(([name, { firstMs, lastMs }]) => `| ${kind} | ${name === 'idle' ? `after ${idleSeconds} s of nothing` : 'after another'} | ${firstMs} | ${lastMs} |`));
  return `
Other workloads (the usual one: 200 B, 1,000 keys, by-key): messages and MB a second, µs of processor time per message and MB resident at most of the
process that publishes, relays, handles; of the servers µs per message, all together.

| | | published/s / MB/s | µs | MB | relayed/s / MB/s | µs | MB | handled/s / MB/s | µs | MB | PostgreSQL | RabbitMQ |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}

| a burst of messages | | ms to the first effect | from publish to effect of the last, ms |
|---|---|---|---|
${bursts.join('\n')}
`;
}

/** What the statements touch at that size. */
function atSize(all: readonly Kept[]): string {
  const plans = all.find((one) => one.name === 'growth-at-size')?.['plans'] as Record<string, Record<string, { touched: number; ms: number }>> | undefined;
  if (!plans) return '';
  const tables = Object.entries(plans).map(([title, found]) => `
Statements on PostgreSQL, ${title} (\`explain analyze\`): rows that a step of the plan touches, at most.

| statement | rows | ms |
|---|---|---|
${Object.entries(found).map(([name, { touched, ms }]) => `| ${name} | ${touched} | ${ms} |`).join('\n')}
`);
  return tables.join('');
}

/** A service with a hundred subscriptions that has nothing to do. */
function atRest(all: readonly Kept[]): string {
  const found = all.find((one) => one.name === 'idle');
  if (!found) return '';
  const rows = Object.entries(found['atRest'] as Record<string, Record<string, number>>).map(([name, one]) => `| ${name.replace('-', ', ')} | ${one['shareOfACore']} | ${one['postgresShareOfACore']} | ${one['rabbitShareOfACore']} | ${one['timersPerSecond']} | ${one['statementsPerSecond']} | ${one['residentMegabytes']} |`);
  return `
A service with ${String(found['subscriptions'])} subscriptions and nothing to do, shares of a core:

| store, transport | Node | PostgreSQL | RabbitMQ | timers/s | statements/s | MB resident |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`;
}

/** A bar for each ratio: how far it is on its way to its goal; the line is the goal. */
function chart(all: readonly Kept[]): string {
  const bars = all.flatMap(({ name, ratios, correct }) =>
    correct ? ratios.map(({ beside, measured, goal, holds }) => ({ label: `${name}: ${beside}`, part: share(measured, goal, holds), holds })) : [],
  );
  const [left, width, line] = [470, 400, 24];
  const x = (part: number): number => left + (Math.min(part, 2) / 2) * width;
  const rows = bars.map(({ label, part, holds }, i) => {
    const y = 30 + i * line;
    return `<text x="${left - 10}" y="${y + 13}" text-anchor="end">${escaped(label.length > 66 ? `${label.slice(0, 65)}…` : label)}</text><rect x="${left}" y="${y + 2}" width="${Math.max(2, x(part) - left)}" height="15" rx="2" fill="${holds ? '#2e7d5b' : '#b3552e'}"/>`;
  });
  const height = 45 + bars.length * line;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${left + width + 30} ${height}" font-family="system-ui, sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="${x(1)}" y="16" text-anchor="middle">goal</text>
<g fill="#222222">
${rows.join('\n')}
</g>
<line x1="${x(1)}" y1="22" x2="${x(1)}" y2="${height - 10}" stroke="#222222" stroke-dasharray="3 3"/>
</svg>
`;
}

/** 1 is the goal, more is better. Whether a ratio is to be large or small shows in what holds. */
function share(measured: number, goal: number, holds: boolean): number {
  const large = measured / goal;
  const small = goal / Math.max(measured, Number.EPSILON);
  return holds ? Math.max(large, small) : Math.min(large, small);
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

// --- capacity ---------------------------------------------------------------------------------------------------------

interface Cpu {
  readonly node: number;
  readonly rabbit: number;
  readonly postgres: number;
}

/** Of a by-key subscription on RabbitMQ. */
const partitions = 8;
/** As much of a core as should be used when nothing is amiss. */
const load = 0.6;
const aim = 100_000;

function capacityPage(all: readonly Kept[]): string {
  const find = (name: string): Kept | undefined => all.find((one) => one.name === name && one.correct);
  const cpuOf = (name: string, way: string): Cpu | undefined => (find(name)?.['cpuMicrosecondsPerMessage'] as Record<string, Cpu> | undefined)?.[way];
  const relay = cpuOf('relay-drain', 'waybill');
  const inbox = cpuOf('inbox', 'waybill');
  const consumerUs = inbox?.node;
  const batch = cpuOf('inbox-batch', 'set');
  const overhead = find('publish-overhead')?.['perSecond'] as { waybill: number[] } | undefined;
  const embedded = find('embedded')?.['cpuUsPerMessage'] as { publisher: number; subscriber: number } | undefined;
  const line = (what: string, us: number | undefined): string =>
    us === undefined || us <= 0 ? `| ${what} | not measured | |` : `| ${what} | ${us.toFixed(1)} µs | ${thousands((1e6 * load) / us)} |`;
  const need = (us: number | undefined): string => (us === undefined || us <= 0 ? 'not measured' : String(Math.ceil((aim * us) / 1e6 / load)));
  return `# How much it carries

<!-- Written by \`npm run bench\` out of benchmarks/results; do not edit. -->

Computed from measured processor time per message: a core used to ${load * 100} % carries ${load} s divided by it. The times are of one small machine
([performance](performance.md)); yours has others, and \`npm run bench\` measures them. What is not processor time (a disk's flush, a
network's round trip) limits latency and a single writer before it limits these.

| one core of | per message | messages a second |
|---|---|---|
${line('the relay (Node)', relay?.node)}
${line('PostgreSQL, relaying', relay?.postgres)}
${line('RabbitMQ, taking and confirming (one quorum queue, one node)', relay?.rabbit)}
${line('a consumer with a handler of one update (Node)', inbox?.node)}
${line('PostgreSQL under it', inbox?.postgres)}
${line('a consumer that takes whole batches (Node)', batch?.node)}
${line('an embedded publisher (20 to a transaction)', embedded?.publisher)}
${line('an embedded subscriber', embedded?.subscriber)}

Publishing in transactions of one update and one message, 16 connections, servers and publisher on the same two cores:
${overhead ? `${thousands(Math.max(...overhead.waybill))} commits a second` : 'not measured'}.

## Where it has to be divided

- **One service publishes through one relay at a time**, so that order per key holds: a service's limit is one core of Node, or what one
  quorum queue's leader takes, whichever is less. Past it a service is two services, each with a schema and a relay of its own: the
  order of a key is kept because a key belongs to one of them.
- **One subscription** is one queue on RabbitMQ, whose leader is one core, worked on by as many instances as you start. Under \`by-key\` it is
  ${partitions} queues, which ${partitions} instances work on at most; more stand by${consumerUs === undefined ? '' : `: ${thousands((partitions * 1e6 * load) / consumerUs)} messages a second with handlers of one
  update. Past that a group of keys, or of types, is a subscription (in a service) of its own`}.
- **One key** is one line: its messages are relayed one after the other's confirm and handled in order. A key carries what one round trip to the
  broker and one handler allow, however many instances there are: \`npm run bench -- workloads\` shows ten keys beside a thousand.
- **One PostgreSQL** holds the outbox or inbox beside the tables that the handlers write: their own updates are most of its work.
- **Embedded**: a file has one writer. A service is a file; past one file's rate, or past one machine, use servers.

## A hundred thousand messages a second

By division: none of this was run at that size. Cores at ${load * 100} %. A quorum queue on three nodes is written three times: reckon with up
to three times the broker's cores, which was not measured; nor was TLS.

| part | cores | how |
|---|---|---|
| relays | ${need(relay?.node)} | a service each, keys spread over them |
| PostgreSQL, relaying | ${need(relay?.postgres)} | spread over the services' databases |
| RabbitMQ | ${need(relay?.rabbit)} | a queue's leader uses about one: as many queues, on several nodes |
| consumers, one update each | ${need(inbox?.node)} | instances of the service, partitions for order |
| PostgreSQL under them | ${need(inbox?.postgres)} | the handlers' own work; a database per group of keys |
| consumers of whole batches instead | ${need(batch?.node)} | \`subscribeBatch\` |

${storage(find('capacity'))}
${simulated(find('capacity'), latencies(find('end-to-end')))}
Ten times that is ten times as many of each: no part is shared by all of them but the broker's cluster, whose queues are divided among
its nodes. Nothing in the design grows with the number of messages that were ever sent: the ledger is read from a position, and
the inbox is trimmed by age. What was measured of that, up to ten million rows: [performance](performance.md), \`growth\`.
`;
}

/** Disk, which nobody thinks of until it is full. */
function storage(found: Kept | undefined): string {
  const bytes = found?.['bytesPerMessage'] as { ledger: number; inbox: number } | undefined;
  const days = 7;
  const terabytes = (each: number, perSecond: number, kept = days): string => ((each * perSecond * 86_400 * kept) / 1e12).toPrecision(2);
  const rows = bytes && [1_000, 10_000, aim].map((perSecond) => `| ${perSecond.toLocaleString('en')} | ${terabytes(bytes.ledger, perSecond)} | ${terabytes(bytes.inbox, perSecond, 2 * days)} |`);
  return `## What it keeps

A published row stays for \`horizonMs\`, by default ${days} days, so that subscriptions may begin in the past; an inbox row twice as long, so that a late
duplicate is known. At a high rate that is what fills the disk: shorten the horizon where nobody needs the history.
${bytes === undefined ? '\nBytes per message: not measured.' : `
On PostgreSQL, with indexes, a message of 200 B takes ${bytes.ledger} B in its publisher's ledger and ${bytes.inbox} B in the inbox of each subscription:

| messages a second | ledger in ${days} days, TB | inbox of one subscription in ${2 * days}, TB |
|---|---|---|
${rows!.join('\n')}`}
`;
}

/** Of the bus at its defaults, at rest and at half of what the machine can. */
function latencies(found: Kept | undefined): string {
  const [ours] = (found?.['contenders'] as Contender[] | undefined) ?? [];
  const of = (pace: string): string | undefined => {
    const one = ours?.latency[pace];
    return one?.p50Ms === undefined ? undefined : `${one.p50Ms}${one.p99Ms === undefined ? '' : ` / ${one.p99Ms}`} ms at ${pace}`;
  };
  const told = paces.map(of).filter((one) => one !== undefined);
  return told.length === 0 ? 'not measured' : `${told.join(', ')} of the maximum`;
}

interface Shaped extends Shape {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly busiest: string;
}

/** What the simulation says, and how near it came to what was run. */
function simulated(found: Kept | undefined, measuredLatency: string): string {
  if (!found) return '## By simulation\n\nNot measured.\n';
  const { shapes, firstBottleneck: first, check, takeover, costs: used } = found as unknown as {
    costs: Record<string, number>;
    shapes: Shaped[];
    firstBottleneck: { perSecond: number; place: string };
    check: { foretoldPerSecond: number; measuredPerSecond: number; ratio: number };
    takeover: { perSecond: number; silentMs: number; p50Ms: number; p99Ms: number };
  };
  const rows = shapes.map((one) => `| ${one.perSecond.toLocaleString('en')} | ${one.services} | ${one.publisherDatabases} | ${one.queues} | ${one.consumers} | ${Math.ceil(one.consumers / partitions)} | ${one.consumerDatabases} | ${one.p50Ms} / ${one.p99Ms} | ${one.busiest} |`);
  return `## By simulation

\`npm run bench -- capacity\` measures one relay and one consumer, each a process, and lets messages queue (at random times, with random keys)
through publishers' databases of ${shapes[0]?.databaseCores} cores, relays, queues' leaders, instances of the consumer and their databases, in windows and batches as
they are taken; there are as many of each as keep it below ${load * 100} % on average. Beyond one machine this is a forecast. On this machine it was checked:
two relays and two instances of the consumer were foretold ${check.foretoldPerSecond} messages a second and did ${check.measuredPerSecond}: **${check.ratio} times** as many as
measured. All of them shared its cores, so that shows that the processor times add up; a network between them was not part of it.

It reckons with its own run's times: relay ${used['relayUs']} µs a message, broker ${used['brokerUs']}, consumer ${used['consumerUs']}, PostgreSQL ${used['writeUs']} to publish, ${used['relayDatabaseUs']} to relay and ${used['consumerDatabaseUs']} to
handle (a tenth of the server's time while draining is taken for the relay's), a flush ${used['flushMs']} ms, a round trip ${used['roundTripMs']} ms. **Its latencies are the least**:
places that wait for each other, on machines of their own. Measured from COMMIT to the handler, all on this one machine, p50 / p99: ${measuredLatency}.

One of each: the first to be full is **${first.place}**, at ${thousands(first.perSecond)} messages a second.

| messages a second | services, a relay each | their databases | queues (partitions) | instances of consumers | by-key subscriptions at least | their databases | p50 / p99 ms | busiest |
|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}

A relay that dies at ${thousands(takeover.perSecond)} messages a second is silent for ${takeover.silentMs / 1_000} s at most, until another holds the lease: over fifteen seconds around it p50 is
${takeover.p50Ms} ms and p99 ${takeover.p99Ms} ms, and nothing else waits for it.
`;
}

function thousands(n: number): string {
  return n >= 10_000 ? `${Math.round(n / 1_000)} k` : `${Math.round(n / 100) / 10} k`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writePages();
