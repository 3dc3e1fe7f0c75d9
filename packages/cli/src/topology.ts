/** `waybill topology plan|apply`: what a service needs at its broker, and whether it is there. */
import { createInterface } from 'node:readline/promises';
import { WaybillError, type Bus } from 'waybill';
import { operations, type Topology, type TopologyEntity } from 'waybill/operations';
import { exit, textOf, UsageError } from './exit.ts';
import { type Column, type OutputFormat, type Row, write } from './output.ts';
import type { Streams } from './program.ts';

export interface TopologyOptions {
  readonly load: () => Promise<Bus<any>>;
  readonly output: OutputFormat;
  readonly offline?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly streams: Streams;
}

/** Creates nothing. */
export async function plan(options: TopologyOptions): Promise<number> {
  return onBus(options, async (bus) => {
    const { topology } = operations(bus);
    if (options.offline) {
      show(options, await topology());
      note(options, 'this is what the service needs; whether it is there was not asked (--offline)');
      return exit.done;
    }
    try {
      return report(options, await topology({ compare: true }));
    } catch (error) {
      if (!WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;
      show(options, await topology());
      note(options, `this is what the service needs; whether it is there could not be seen: ${textOf(error)}`);
      return exit.unreachable;
    }
  });
}

/** Creates what is missing, with the rights of the bus's own URL. */
export async function apply(options: TopologyOptions): Promise<number> {
  if (options.dryRun) return plan(options);
  return onBus(options, async (bus) => {
    const { topology, applyTopology } = operations(bus);
    const before = await topology({ compare: true });
    if (before.entities.length === 0) return report(options, before);
    await confirm(options, before);
    const { left } = await applyTopology();
    const after = await topology({ compare: true });
    const missing = new Set(before.entities.filter(({ state }) => state === 'missing').map(idOf));
    const made = after.entities.map((entity) => (entity.state === 'there' && missing.has(idOf(entity)) ? { ...entity, state: 'made' as const } : entity));
    for (const name of left) note(options, `${name} takes over what stands under a former name: that is left to the service's start, when no older instance works there any more`);
    return report(options, { ...after, entities: made });
  });
}

async function onBus(options: TopologyOptions, work: (bus: Bus<any>) => Promise<number>): Promise<number> {
  const bus = await options.load();
  try {
    return await work(bus);
  } finally {
    await bus.stop({ drainMs: 0 });
  }
}

async function confirm({ yes, streams: { stdin, stderr } }: TopologyOptions, { entities, transport }: Topology): Promise<void> {
  if (yes) return;
  if (!stdin.isTTY) throw new UsageError('apply creates things at the broker: say --yes where nobody can be asked');
  const missing = entities.filter(({ state }) => state === 'missing').length;
  const asking = createInterface({ input: stdin, output: stderr });
  try {
    const answer = await asking.question(`Create what is missing at ${transport} (${missing} of ${entities.length})? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new UsageError('nothing was created');
  } finally {
    asking.close();
  }
}

// --- telling ------------------------------------------------------------------------------------------------------------

type Shown = Omit<TopologyEntity, 'state'> & { readonly state?: TopologyEntity['state'] | 'made' };

function report(options: TopologyOptions, topology: Omit<Topology, 'entities'> & { readonly entities: readonly Shown[] }): number {
  show(options, topology);
  const { entities } = topology;
  if (entities.length === 0) return exit.done;
  const count = (state: Shown['state']): number => entities.filter((entity) => entity.state === state).length;
  for (const { state, kind, name, detail } of entities) if (state === 'different') note(options, `the ${kind} ${name} differs: ${detail ?? 'in its settings'}`);
  for (const why of new Set(entities.flatMap(({ state, detail }) => (state === 'unseen' ? [detail ?? ''] : [])))) note(options, `unseen: ${why}`);
  const [missing, different] = [count('missing'), count('different')];
  if (missing > 0) note(options, `${missing} of ${entities.length} missing: waybill topology apply makes them, and so does the service's start where it may`);
  if (different > 0) note(options, `${different} of ${entities.length} made with other settings: change or remove these by hand; nothing here does`);
  if (missing + different > 0) return exit.found;
  note(options, count('made') > 0 ? `${count('made')} made; all ${entities.length} are as the service needs them` : `all ${entities.length} are as the service needs them`);
  return exit.done;
}

function show({ output, streams: { stdout, stderr } }: TopologyOptions, { transport, service, entities }: Pick<Topology, 'transport' | 'service'> & { readonly entities: readonly Shown[] }): void {
  write(stdout, entities.map(rowOf), output, columns);
  if (entities.length === 0) stderr.write(`waybill: ${service} has nothing to create: the transport ${transport} keeps nothing outside its process\n`);
}

function note({ streams: { stderr } }: TopologyOptions, text: string): void {
  stderr.write(`waybill: ${text}\n`);
}

function rowOf({ kind, name, subscription, state, detail, settings }: Shown): Row {
  return { kind, name, subscription: subscription ?? null, state: state ?? 'wanted', detail: detail ?? null, settings };
}

const text = (key: string) => (row: Row): string => (row[key] === null ? '' : String(row[key]));
const colours: Readonly<Record<string, 'green' | 'yellow' | 'red' | 'gray'>> = { there: 'green', made: 'green', missing: 'red', different: 'yellow', unseen: 'gray', wanted: 'gray' };

const columns: readonly Column[] = [
  { title: 'STATE', text: text('state'), colour: ({ state }) => colours[String(state)] ?? 'gray' },
  { title: 'KIND', text: text('kind') },
  { title: 'NAME', text: text('name') },
  { title: 'SUBSCRIPTION', text: text('subscription') },
  { title: 'SETTINGS', text: ({ settings }) => Object.entries(settings as object).map(([key, value]) => `${key}=${value}`).join(' ') },
];

function idOf({ kind, name }: Pick<TopologyEntity, 'kind' | 'name'>): string {
  return `${kind} ${name}`;
}
