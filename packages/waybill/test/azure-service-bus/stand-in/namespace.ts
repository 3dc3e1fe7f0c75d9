/** Topics, their subscriptions and rules, and queues; where a published message goes. Names know no case, as in Azure. */
import type { Message } from 'rhea';
import { AmqpError, notFound } from './amqp-error.ts';
import { defaults, Entity, type EntitySettings, type Stored } from './entity.ts';
import { matches, type Rule } from './filters.ts';
import type { Journal } from './journal.ts';

export interface Topic {
  readonly path: string;
  readonly duplicatesMs: number | undefined;
  readonly subscriptions: Map<string, Subscription>;
  readonly seen: Map<string, number>;
}

export interface Subscription {
  readonly name: string;
  readonly entity: Entity;
  readonly rules: Map<string, Rule>;
}

interface Queue {
  readonly entity: Entity;
  readonly duplicatesMs: number | undefined;
  readonly seen: Map<string, number>;
}

/** Azure keeps deferred and scheduled ones apart; the least that tests need of the annotation. */
const scheduledTime = 'x-opt-scheduled-enqueue-time';
/** Azure's naming rules (resource-name-rules, Microsoft.ServiceBus). */
const paths = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?$/;
const shortNames = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,48}[A-Za-z0-9])?$/;
export const alwaysTrue: Rule = { name: '$Default', filter: { sql: '1=1' } };

export class Namespace {
  readonly topics: Map<string, Topic> = new Map();
  readonly queues: Map<string, Queue> = new Map();
  readonly #journal: Journal;
  #seq: number;

  constructor(journal: Journal) {
    this.#journal = journal;
    this.#seq = journal.lastSeq();
    for (const { path, kind, settings } of journal.entities()) {
      if (kind === 'topic') this.#addTopic(path, settings);
      else if (kind === 'queue') this.#reopen(this.#addQueue(path, settings).entity);
      else {
        const [topic, name] = path.split('/Subscriptions/') as [string, string];
        this.#reopen(this.#addSubscription(this.topic(topic), name, settings).entity);
      }
    }
  }

  #reopen(entity: Entity): void {
    for (const { id, state } of this.#journal.sessions(entity.path)) entity.restoreSession(id, state);
    for (const stored of this.#journal.messages(entity.path)) entity.restore({ ...stored, count: stored.count });
    if (entity.deadLetters) this.#reopen(entity.deadLetters);
  }

  // --- entities ---------------------------------------------------------------------------------------------------------

  topic(name: string): Topic {
    const topic = this.topics.get(name.toLowerCase());
    if (!topic) throw notFound(name);
    return topic;
  }

  createTopic(name: string, settings: { duplicatesMs?: number | undefined } = {}): Topic {
    this.#refuseTaken(name);
    this.#journal.saveEntity(name, 'topic', settings);
    return this.#addTopic(name, settings);
  }

  #addTopic(path: string, settings: { duplicatesMs?: number | undefined }): Topic {
    const topic: Topic = { path, duplicatesMs: settings.duplicatesMs, subscriptions: new Map(), seen: new Map() };
    this.topics.set(path.toLowerCase(), topic);
    return topic;
  }

  subscription(topic: string, name: string): Subscription {
    const subscription = this.topic(topic).subscriptions.get(name.toLowerCase());
    if (!subscription) throw notFound(`${topic}/Subscriptions/${name}`);
    return subscription;
  }

  createSubscription(topicName: string, name: string, settings: Partial<EntitySettings> & { rules?: readonly Rule[] } = {}): Subscription {
    const topic = this.topic(topicName);
    checkName(name, shortNames);
    for (const rule of settings.rules ?? []) if (rule !== alwaysTrue) checkName(rule.name, shortNames);
    if (topic.subscriptions.has(name.toLowerCase())) throw taken(name);
    const subscription = this.#addSubscription(topic, name, settings);
    this.#saveSubscription(subscription);
    return subscription;
  }

  #addSubscription(topic: Topic, name: string, { rules = [alwaysTrue], ...settings }: Partial<EntitySettings> & { rules?: readonly Rule[] }): Subscription {
    const entity = new Entity(`${topic.path}/Subscriptions/${name}`, settle(settings), this.#journal);
    const subscription = { name, entity, rules: new Map(rules.map((rule) => [rule.name.toLowerCase(), rule])) };
    topic.subscriptions.set(name.toLowerCase(), subscription);
    return subscription;
  }

  #saveSubscription({ entity, rules }: Subscription): void {
    this.#journal.saveEntity(entity.path, 'subscription', { ...entity.settings, rules: [...rules.values()] });
  }

  queue(name: string): Queue {
    const queue = this.queues.get(name.toLowerCase());
    if (!queue) throw notFound(name);
    return queue;
  }

  createQueue(name: string, settings: Partial<EntitySettings> & { duplicatesMs?: number | undefined } = {}): Queue {
    this.#refuseTaken(name);
    this.#journal.saveEntity(name, 'queue', settings);
    return this.#addQueue(name, settings);
  }

  #addQueue(path: string, { duplicatesMs, ...settings }: Partial<EntitySettings> & { duplicatesMs?: number | undefined }): Queue {
    const queue: Queue = { entity: new Entity(path, settle(settings), this.#journal), duplicatesMs, seen: new Map() };
    this.queues.set(path.toLowerCase(), queue);
    return queue;
  }

  #refuseTaken(name: string): void {
    checkName(name, paths);
    if (this.topics.has(name.toLowerCase()) || this.queues.has(name.toLowerCase())) throw taken(name);
  }

  update(entity: Entity, settings: Partial<EntitySettings>): void {
    entity.settings = { ...entity.settings, ...settings };
    const kind = entity.path.includes('/Subscriptions/') ? 'subscription' : 'queue';
    const rules = kind === 'subscription' ? { rules: [...this.#subscriptionOf(entity).rules.values()] } : {};
    this.#journal.saveEntity(entity.path, kind, { ...entity.settings, ...rules });
  }

  #subscriptionOf(entity: Entity): Subscription {
    const [topic, name] = entity.path.split('/Subscriptions/') as [string, string];
    return this.subscription(topic, name);
  }

  addRule(subscription: Subscription, rule: Rule): void {
    checkName(rule.name, shortNames);
    if (subscription.rules.has(rule.name.toLowerCase())) throw taken(rule.name);
    subscription.rules.set(rule.name.toLowerCase(), rule);
    this.#saveSubscription(subscription);
  }

  removeRule(subscription: Subscription, name: string): void {
    if (!subscription.rules.delete(name.toLowerCase())) throw notFound(name);
    this.#saveSubscription(subscription);
  }

  removeTopic(name: string): void {
    const topic = this.topic(name);
    this.topics.delete(name.toLowerCase());
    this.#journal.removeEntity(topic.path);
    for (const { entity } of topic.subscriptions.values()) entity.close(notFound(entity.path));
  }

  removeSubscription(topic: string, name: string): void {
    const { entity } = this.subscription(topic, name);
    this.topic(topic).subscriptions.delete(name.toLowerCase());
    this.#journal.removeEntity(entity.path);
    entity.close(notFound(entity.path));
  }

  removeQueue(name: string): void {
    const { entity } = this.queue(name);
    this.queues.delete(name.toLowerCase());
    this.#journal.removeEntity(entity.path);
    entity.close(notFound(entity.path));
  }

  *entities(): Generator<Entity> {
    for (const { entity } of this.queues.values()) yield entity;
    for (const { subscriptions } of this.topics.values()) for (const { entity } of subscriptions.values()) yield entity;
  }

  /** What a link's address names. @throws AmqpError `amqp:not-found` */
  resolve(address: string): { readonly target: Topic | Queue; readonly source: Entity | undefined } {
    const path = address.replace(/^\//, '');
    const [, base = path, dead] = /^(.*?)(\/\$deadletterqueue)?$/i.exec(path)!;
    const [, topic, name] = /^(.*)\/subscriptions\/([^/]+)$/i.exec(base) ?? [];
    const source = name !== undefined ? this.subscription(topic!, name).entity : this.queues.get(base.toLowerCase())?.entity;
    if (source) return { target: name !== undefined ? this.topic(topic!) : this.queue(base), source: dead ? source.deadLetters : source };
    return { target: this.topic(base), source: undefined };
  }

  // --- publishing -------------------------------------------------------------------------------------------------------

  /** Stores it wherever it belongs; undefined when duplicate detection dropped it. @throws AmqpError */
  publish(target: Topic | Queue, message: Message, scheduledMs?: number): number | undefined {
    if ('entity' in target && target.entity.settings.status === 'SendDisabled') {
      throw new AmqpError('com.microsoft:entity-disabled', `Messaging entity '${target.entity.path}' is currently disabled.`);
    }
    if (isDuplicate(target, message)) return undefined;
    const seq = ++this.#seq;
    const annotated = message.message_annotations?.[scheduledTime];
    const dueMs = scheduledMs ?? (annotated === undefined ? 0 : Number(annotated));
    const state = dueMs > Date.now() ? 'scheduled' : 'active';
    const stored = (): Stored => ({ seq, message, enqueuedMs: state === 'scheduled' ? dueMs : Date.now(), state, count: 0 });
    if ('entity' in target) {
      if (target.entity.settings.requiresSession && message.group_id === undefined) {
        throw new AmqpError('amqp:not-allowed', 'The SessionId was not set on a message for an entity that requires sessions.');
      }
      target.entity.put(stored());
      return seq;
    }
    for (const { entity, rules } of target.subscriptions.values()) {
      if (![...rules.values()].some((rule) => matches(rule, message))) continue;
      if (entity.settings.requiresSession && message.group_id === undefined) {
        entity.deadLetter(stored(), 'Session id is null.', 'The subscription requires sessions.');
      } else entity.put(stored());
    }
    return seq;
  }

  cancelScheduled(target: Topic | Queue, seq: number): void {
    if ('entity' in target) target.entity.cancelScheduled(seq);
    else for (const { entity } of target.subscriptions.values()) entity.cancelScheduled(seq);
  }

  close(): void {
    for (const entity of this.entities()) entity.close();
  }
}

function isDuplicate({ duplicatesMs, seen }: Topic | Queue, { message_id }: Message): boolean {
  if (duplicatesMs === undefined || message_id === undefined) return false;
  const now = Date.now();
  for (const [id, untilMs] of seen) {
    if (untilMs > now) break;
    seen.delete(id);
  }
  const id = String(message_id);
  if (seen.has(id)) return true;
  seen.set(id, now + duplicatesMs);
  return false;
}

function settle(settings: Partial<EntitySettings>): EntitySettings {
  const given = Object.entries(settings).filter(([name, value]) => value !== undefined && Object.hasOwn(defaults, name));
  return { ...defaults, ...Object.fromEntries(given) };
}

function checkName(name: string, rule: RegExp): void {
  if (!rule.test(name)) throw new AmqpError('amqp:invalid-field', `'${name}' contains character(s) that are not allowed, or is too long.`);
}

function taken(name: string): AmqpError {
  return new AmqpError('com.microsoft:entity-already-exists', `The messaging entity '${name}' already exists.`);
}
