/**
 * What stands in the namespace, made idempotently: one topic for all events, a subscription on it for each subscription
 * of ours, a queue for each command of a service. Without the right to manage, or with `migrate: 'check'`, it is only
 * looked at over AMQP. Why one topic: docs/decisions (Azure's topology).
 */
import { type Clock, sleep } from '../../contract/clock.ts';
import { WaybillError } from '../../contract/errors.ts';
import type { Declaration } from '../../contract/transport.ts';
import type { AzureAdministration } from './client.ts';
import type { Clients } from './clients.ts';
import { drainInto } from './move.ts';
import type { Names } from './names.ts';
import { entitySettings, type Place, placesOf, rulesFor, told } from './settings.ts';
import { doing, isForbidden, isMissing, isThere, lastError } from './trouble.ts';

export interface TopologyOptions {
  readonly service: string;
  readonly clients: Clients;
  /** Undefined: there is none, or it is not to be used. */
  readonly administration: AzureAdministration | undefined;
  readonly names: Names;
  readonly lockMs: number;
  readonly clock: Clock;
  readonly warn: (text: string) => void;
}

/** While what is queued is applied before a removal. */
const pollMs = 100;
/** Azure deletes a queue this long after its last use: one for replies when its instance has gone. 5 minutes is the least. */
const idleFor = 'PT5M';

export class Topology {
  readonly #options: TopologyOptions;
  #administration: AzureAdministration | undefined;
  /** What it said when it refused. */
  #refusal: unknown;

  constructor(options: TopologyOptions) {
    this.#options = options;
    this.#administration = options.administration;
  }

  get manages(): boolean {
    return this.#administration !== undefined;
  }

  /** The topic: made, or found to be there. */
  async open(): Promise<void> {
    const { names } = this.#options;
    await this.#make(
      `creating the topic ${names.topic}`,
      async (administration) => {
        if (!(await administration.topicExists(names.topic))) await unlessThere(administration.createTopic(names.topic));
      },
      () => this.#lookAtTopic(),
    );
  }

  async #lookAtTopic(): Promise<void> {
    const { clients, names } = this.#options;
    const sender = clients.current.createSender(names.topic);
    try {
      await sender.createMessageBatch();
    } catch (error) {
      if (isMissing(error)) throw this.#missing(`the topic ${names.topic}`);
      throw error;
    } finally {
      sender.close().catch(() => {}); // not waited for: cut off at this moment, the SDK never ends it
    }
  }

  /** With the administration while it lets us; from the first denial on only by looking. */
  async #make(what: string, make: (administration: AzureAdministration) => Promise<void>, look: () => Promise<void>): Promise<void> {
    const administration = this.#administration;
    if (administration) {
      try {
        return await make(administration);
      } catch (error) {
        if (!isForbidden(error)) return doing(what, () => Promise.reject(error as Error));
        this.#administration = undefined;
        this.#refusal = error;
        this.#options.warn(`the administration of the Azure Service Bus namespace refuses ${what}, so entities are looked for and not created: ${lastError(error).message}`);
      }
    }
    await doing(what, look);
  }

  #missing(what: string): WaybillError {
    const next = this.#refusal === undefined ? '' : ` (creating was refused: ${lastError(this.#refusal).message})`;
    return new WaybillError('TOPOLOGY_MISSING', `${what} is not there; start once with credentials that may manage the namespace${next}`, { cause: this.#refusal });
  }

  places(declaration: Declaration): Place[] {
    return placesOf(this.#options.names, this.#options.service, declaration);
  }

  /** Places of the declared subscriptions, by the subscription. */
  readonly declared: Map<string, readonly Place[]> = new Map();

  /** @returns what this call made */
  async declare(declaration: Declaration): Promise<readonly string[]> {
    const requiresSession = declaration.order === 'by-key';
    const places = this.places(declaration);
    const made: string[] = [];
    await this.#make(
      `declaring ${declaration.name}`,
      async (administration) => {
        if (declaration.from !== 'now') await this.#refusePast(administration, declaration);
        for (const place of places) {
          const isNew =
            place.topic === undefined
              ? await this.#ensureQueue(administration, place.name, { requiresSession, userMetadata: declaration.name })
              : await this.#ensureSubscription(administration, place.name, declaration, requiresSession);
          if (isNew) made.push(told(place));
        }
        for (const former of declaration.formerly) await this.#move(administration, former, declaration, requiresSession);
      },
      async () => {
        if (declaration.from !== 'now') throw tooLate(declaration.name);
        for (const place of places) await this.#lookAt(place);
      },
    );
    this.declared.set(declaration.name, places);
    return made;
  }

  async #refusePast(administration: AzureAdministration, { name, formerly }: Declaration): Promise<void> {
    for (const one of [name, ...formerly]) if (await this.#subscription(administration, one)) return;
    throw tooLate(name);
  }

  async #subscription(administration: AzureAdministration, name: string): Promise<{ requiresSession: boolean; userMetadata?: string } | undefined> {
    const { names } = this.#options;
    return orUndefined(administration.getSubscription(names.topic, names.subscription(name)));
  }

  /**
   * The first rule is made with the subscription: one that takes everything, as Azure's default does, is never there.
   * @returns whether it was made
   */
  async #ensureSubscription(administration: AzureAdministration, entity: string, declaration: Declaration, requiresSession: boolean): Promise<boolean> {
    const { names, lockMs } = this.#options;
    const rules = declaration.bindings.filter(({ kind }) => kind === 'event').flatMap(({ type }) => rulesFor(names, type));
    let found = await this.#subscription(administration, declaration.name);
    let isNew = false;
    if (!found) {
      await unlessMissing(administration.deleteQueue(names.removed(declaration.name)));
      const options = { ...entitySettings(requiresSession, lockMs), userMetadata: declaration.name };
      isNew = await unlessThere(administration.createSubscription(names.topic, entity, { ...options, defaultRuleOptions: rules[0] }));
      found = await this.#subscription(administration, declaration.name);
    }
    if (found && found.requiresSession !== requiresSession) throw conflict(declaration.name, found.requiresSession);
    if (found?.userMetadata !== undefined && found.userMetadata !== '' && found.userMetadata !== declaration.name) {
      throw new WaybillError('TOPOLOGY_CONFLICT', `the Azure subscription ${entity} belongs to ${found.userMetadata}, not to ${declaration.name}; choose another name`);
    }
    const there = new Set<string>();
    for await (const { name } of administration.listRules(names.topic, entity)) there.add(name);
    for (const { name, filter } of rules) {
      if (!there.has(name)) await unlessThere(administration.createRule(names.topic, entity, name, filter));
    }
    return isNew;
  }

  async #ensureQueue(administration: AzureAdministration, name: string, { requiresSession, userMetadata }: { requiresSession: boolean; userMetadata: string }): Promise<boolean> {
    let found = await orUndefined(administration.getQueue(name));
    let isNew = false;
    if (!found) {
      await unlessMissing(administration.deleteQueue(this.#options.names.removed(userMetadata)));
      isNew = await unlessThere(administration.createQueue(name, { ...entitySettings(requiresSession, this.#options.lockMs), userMetadata }));
      found = await administration.getQueue(name);
    }
    if (found.requiresSession !== requiresSession) throw conflict(name, found.requiresSession as boolean);
    // It was being removed, or belongs to a former name.
    if (found.status !== 'Active' || found.userMetadata !== userMetadata) await administration.updateQueue({ ...found, status: 'Active', userMetadata });
    return isNew;
  }

  async #lookAt(place: Place): Promise<void> {
    const { topic, name } = place;
    const client = this.#options.clients.current;
    const receiver = topic === undefined ? client.createReceiver(name) : client.createReceiver(topic, name);
    try {
      await receiver.peekMessages(1);
    } catch (error) {
      if (isMissing(error)) throw this.#missing(told(place));
      throw error;
    } finally {
      receiver.close().catch(() => {});
    }
  }

  // --- renaming ---------------------------------------------------------------------------------------------------------

  /** The new subscription is there already: what comes meanwhile comes twice rather than not at all, and the inbox sees to it. */
  async #move(administration: AzureAdministration, former: string, declaration: Declaration, requiresSession: boolean): Promise<void> {
    const { names, clients, clock } = this.#options;
    const found = await this.#subscription(administration, former);
    if (!found) return;
    const entity = names.subscription(former);
    await this.#unbind(administration, entity);
    const target = names.moved(declaration.name);
    await this.#ensureQueue(administration, target, { requiresSession, userMetadata: declaration.name });
    await drainInto(target, {
      client: clients.current,
      clock,
      source: { topic: names.topic, name: entity, sessions: found.requiresSession },
      left: async () => (await administration.getSubscriptionRuntimeProperties(names.topic, entity)).activeMessageCount,
    });
    await this.#say(administration, former);
    await unlessMissing(administration.deleteSubscription(names.topic, entity));
  }

  async #unbind(administration: AzureAdministration, entity: string): Promise<void> {
    const { names } = this.#options;
    const rules: string[] = [];
    for await (const { name } of administration.listRules(names.topic, entity)) rules.push(name);
    for (const rule of rules) await unlessMissing(administration.deleteRule(names.topic, entity, rule));
  }

  /** What a renamed subscription has to apply first, if there is anything left of it. */
  async movedTo(name: string): Promise<string | undefined> {
    const queue = this.#options.names.moved(name);
    if (!this.#administration) return undefined;
    return (await orUndefined(this.#administration.getQueue(queue))) === undefined ? undefined : queue;
  }

  /** Messages left in the queue of a former name; once there is none, it is gone. */
  async leftIn(queue: string): Promise<number> {
    const administration = this.#administration;
    const counts = administration && (await orUndefined(administration.getQueueRuntimeProperties(queue)));
    if (counts && counts.activeMessageCount > 0) return counts.activeMessageCount;
    if (counts) await unlessMissing(administration!.deleteQueue(queue));
    return 0;
  }

  // --- removing ---------------------------------------------------------------------------------------------------------

  async remove(name: string, queued: 'apply' | 'drop', stop: AbortSignal): Promise<void> {
    const administration = this.#administration;
    if (!administration) {
      throw new WaybillError('CAPABILITY_MISSING', `${name} cannot be removed: these credentials may not manage the namespace; remove it with others`);
    }
    await doing(`removing ${name}`, async () => {
      const { names } = this.#options;
      const entity = names.subscription(name);
      const queues = await this.#queuesOf(administration, name);
      const subscribed = (await this.#subscription(administration, name)) !== undefined;
      if (queued === 'apply') {
        if (subscribed) await this.#unbind(administration, entity);
        for (const queue of queues) await unlessMissing(administration.getQueue(queue).then((found) => administration.updateQueue({ ...found, status: 'SendDisabled' })));
        if (!(await this.#untilEmpty(administration, subscribed ? entity : undefined, queues, stop))) return;
      }
      if (subscribed || queues.length > 0) await this.#say(administration, name);
      if (subscribed) await unlessMissing(administration.deleteSubscription(names.topic, entity));
      for (const queue of queues) await unlessMissing(administration.deleteQueue(queue));
      this.declared.delete(name);
    });
  }

  /** Before its entities go: other instances find them missing, and know that it is meant. */
  async #say(administration: AzureAdministration, name: string): Promise<void> {
    await unlessThere(administration.createQueue(this.#options.names.removed(name), { autoDeleteOnIdle: idleFor }));
  }

  /**
   * An entity that was received from is not there any more.
   * @returns undefined: the subscription was removed; else what somebody had deleted by hand and this call made again, without what it held
   * @throws WaybillError `TOPOLOGY_MISSING` where nothing may be made
   */
  async remake(declaration: Declaration): Promise<readonly string[] | undefined> {
    const administration = this.#administration;
    if (!administration) throw this.#missing(this.places(declaration).map(told).join(', or '));
    const tombstone = await doing(`looking after ${declaration.name}`, () => orUndefined(administration.getQueue(this.#options.names.removed(declaration.name))));
    return tombstone ? undefined : this.declare({ ...declaration, from: 'now' });
  }

  async #queuesOf(administration: AzureAdministration, subscription: string): Promise<string[]> {
    const queues: string[] = [];
    for await (const { name, userMetadata } of administration.listQueues()) if (userMetadata === subscription) queues.push(name);
    return queues;
  }

  /** False when it was declared again meanwhile: it lives. */
  async #untilEmpty(administration: AzureAdministration, entity: string | undefined, queues: readonly string[], stop: AbortSignal): Promise<boolean> {
    const { names, clock } = this.#options;
    for (;;) {
      let left = 0;
      if (entity !== undefined) {
        for await (const _ of administration.listRules(names.topic, entity)) return false;
        left += (await administration.getSubscriptionRuntimeProperties(names.topic, entity)).activeMessageCount;
      }
      for (const queue of queues) {
        const found = await orUndefined(administration.getQueue(queue));
        if (found?.status === 'Active') return false;
        if (found) left += (await administration.getQueueRuntimeProperties(queue)).activeMessageCount;
      }
      if (left === 0) return true;
      await sleep(clock, pollMs, stop);
      if (stop.aborted) throw new WaybillError('STOPPED', 'this session was closed before the subscription was empty');
    }
  }

  // --- replies ----------------------------------------------------------------------------------------------------------

  async makeReplies(queue: string): Promise<void> {
    await this.#make(
      `creating the queue ${queue}`,
      async (administration) => void (await unlessThere(administration.createQueue(queue, { autoDeleteOnIdle: idleFor, maxDeliveryCount: 1 }))),
      () => Promise.reject(new WaybillError('CAPABILITY_MISSING', 'requests need a queue for their replies, which these credentials may not create (Manage)')),
    );
  }

  async dropReplies(queue: string): Promise<void> {
    await unlessMissing(this.#administration?.deleteQueue(queue) ?? Promise.resolve());
  }
}

/** @returns whether it was not there */
async function unlessThere(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (isThere(error)) return false;
    throw error;
  }
}

async function unlessMissing(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
}

async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function conflict(name: string, requiresSession: boolean): WaybillError {
  const is = requiresSession ? 'requires sessions, which only order by-key does' : 'has no sessions, which order by-key needs';
  return new WaybillError('TOPOLOGY_CONFLICT', `${name} ${is}, and Azure cannot change that: give the subscription a new name, with formerly`);
}

function tooLate(name: string): WaybillError {
  return new WaybillError('CAPABILITY_MISSING', `Azure Service Bus: ${name} cannot begin in the past, as a topic keeps nothing of what was sent before; use from: 'now'`);
}
