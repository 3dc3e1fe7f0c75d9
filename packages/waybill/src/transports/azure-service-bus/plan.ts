/**
 * What `connect` and `declare` make in the namespace for a service, told beforehand, and what of it is there: by the
 * administration, or, where that refuses or there is none, by a look over AMQP, which tells no settings and no rules.
 */
import type { Entity, Seen } from '../../contract/topology.ts';
import type { Declaration, TopologyPlan } from '../../contract/transport.ts';
import type { AzureAdministration, AzureClient, AzureFilter } from './client.ts';
import { closeForGood } from './clients.ts';
import type { Clock } from '../../contract/clock.ts';
import { type Names, namesWith } from './names.ts';
import type { SessionOptions } from './session.ts';
import { entitySettings, placesOf, rulesFor } from './settings.ts';
import { doing, isForbidden, isMissing, lastError } from './trouble.ts';

export interface PlanOptions {
  readonly prefix: string;
  readonly lockMs: number;
  /** For a look, and closed after it; without `make` the client is the user's. */
  readonly open: () => Promise<Pick<SessionOptions, 'client' | 'make' | 'administration'>>;
}

export function topologyIn({ prefix, lockMs, open }: PlanOptions): TopologyPlan {
  const names = namesWith(prefix);
  return {
    entities: (service, declarations) => [topic(names), ...declarations.flatMap((declaration) => entitiesOf(names, service, lockMs, declaration))],
    async look(entities, { clock }) {
      const { client, administration, make } = await open();
      try {
        return await doing('looking at what is there', () => lookAt(entities, { client, administration, names, clock }));
      } finally {
        if (make) await closeForGood(client, clock);
      }
    },
  };
}

function topic({ topic: name }: Names): Entity {
  return { kind: 'topic', name, subscription: undefined, received: false, settings: {} };
}

function entitiesOf(names: Names, service: string, lockMs: number, declaration: Declaration): Entity[] {
  const { name: subscription } = declaration;
  const settings = entitySettings(declaration.order === 'by-key', lockMs);
  return placesOf(names, service, declaration).flatMap((place): Entity[] => {
    if (place.topic === undefined) return [{ kind: 'queue', name: place.name, subscription, received: true, settings }];
    const path = `${place.topic}/${place.name}`;
    const types = declaration.bindings.filter(({ kind }) => kind === 'event').map(({ type }) => type);
    const rules = types.flatMap((type) => rulesFor(names, type));
    return [
      { kind: 'subscription', name: path, subscription, received: true, settings },
      ...rules.map(({ name, filter }): Entity => ({ kind: 'rule', name: `${path}/${name}`, subscription, received: false, settings: textOf(filter) })),
    ];
  });
}

/** What a correlation filter asks for, by property. */
function textOf({ subject, applicationProperties }: AzureFilter): Record<string, string> {
  return { ...(subject !== undefined && { subject }), ...applicationProperties };
}

// --- looking ------------------------------------------------------------------------------------------------------------

interface Ground {
  readonly client: AzureClient;
  readonly administration: AzureAdministration | undefined;
  readonly names: Names;
  readonly clock: Clock;
}

async function lookAt(entities: readonly Entity[], ground: Ground): Promise<Seen[]> {
  const { administration } = ground;
  let why = 'there is no administration';
  if (administration) {
    try {
      return await askAll(entities, administration, ground.names);
    } catch (error) {
      if (!isForbidden(error)) throw error;
      why = `the administration refuses: ${lastError(error).message}`;
    }
  }
  const seen: Seen[] = [];
  for (const entity of entities) seen.push(entity.kind === 'rule' ? { state: 'unseen', detail: `rules are not seen over AMQP (${why})` } : await peekAt(entity, ground));
  return seen;
}

async function askAll(entities: readonly Entity[], administration: AzureAdministration, { topic: topicName }: Names): Promise<Seen[]> {
  const rules = new Map<string, Promise<Map<string, unknown>>>();
  /** Of one subscription, asked for once. */
  const rulesOf = (subscription: string): Promise<Map<string, unknown>> => {
    const found = rules.get(subscription) ?? listRules(administration, topicName, subscription);
    rules.set(subscription, found);
    return found;
  };
  const ask = async ({ kind, name, subscription: of, settings }: Entity): Promise<Seen> => {
    switch (kind) {
      case 'topic':
        return { state: (await administration.topicExists(name)) ? 'there' : 'missing' };
      case 'queue':
        return compared(settings, of, await orMissing(administration.getQueue(name)));
      case 'subscription':
        return compared(settings, of, await orMissing(administration.getSubscription(topicName, name.slice(topicName.length + 1))));
      default: {
        const [subscription = '', rule = ''] = name.slice(topicName.length + 1).split('/');
        return comparedFilter(settings, (await rulesOf(subscription)).get(rule));
      }
    }
  };
  const seen: Seen[] = [];
  for (const entity of entities) seen.push(await ask(entity));
  return seen;
}

async function listRules(administration: AzureAdministration, topicName: string, subscription: string): Promise<Map<string, unknown>> {
  const rules = new Map<string, unknown>();
  try {
    for await (const { name, filter } of administration.listRules(topicName, subscription)) rules.set(name, filter ?? {});
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return rules;
}

async function orMissing(work: Promise<unknown>): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    return (await work) as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function compared(settings: Entity['settings'], of: string | undefined, found: Readonly<Record<string, unknown>> | undefined): Seen {
  if (!found) return { state: 'missing' };
  const { userMetadata } = found;
  const belongs = typeof userMetadata === 'string' && userMetadata !== '' && userMetadata !== of ? [`it belongs to ${userMetadata}`] : [];
  const differing = Object.entries(settings).filter(([name, value]) => secondsOf(found[name]) !== secondsOf(value));
  const detail = [...belongs, ...differing.map(([name]) => `${name} is ${String(found[name])}`)].join(', ');
  return detail === '' ? { state: 'there' } : { state: 'different', detail };
}

/** A duration as Azure writes it, in seconds: PT60S is PT1M. Anything else as it is. */
function secondsOf(value: unknown): unknown {
  const parts = typeof value === 'string' ? /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/.exec(value) : null;
  if (!parts) return value;
  const [days = 0, hours = 0, minutes = 0, seconds = 0] = parts.slice(1).map((part) => Number(part ?? 0));
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}

function comparedFilter(settings: Entity['settings'], found: unknown): Seen {
  if (found === undefined) return { state: 'missing' };
  const { subject, applicationProperties = {}, ...rest } = found as AzureFilter & Record<string, unknown>;
  const others = Object.values(rest).some((value) => value !== undefined && value !== '');
  const filter = textOf({ ...(subject !== undefined && { subject }), applicationProperties });
  const same = Object.keys(filter).length === Object.keys(settings).length && Object.entries(settings).every(([name, value]) => filter[name] === value);
  return same && !others ? { state: 'there' } : { state: 'different', detail: `its filter is ${JSON.stringify(found)}` };
}

async function peekAt({ kind, name }: Entity, { client, names: { topic: topicName } }: Ground): Promise<Seen> {
  const receiver = kind === 'topic' ? undefined : kind === 'queue' ? client.createReceiver(name) : client.createReceiver(topicName, name.slice(topicName.length + 1));
  const sender = kind === 'topic' ? client.createSender(name) : undefined;
  try {
    await (receiver?.peekMessages(1) ?? sender!.createMessageBatch());
    return { state: 'there' };
  } catch (error) {
    if (isMissing(error)) return { state: 'missing' };
    throw error;
  } finally {
    (receiver ?? sender)!.close().catch(() => {}); // not waited for: cut off at this moment, the SDK never ends it
  }
}
