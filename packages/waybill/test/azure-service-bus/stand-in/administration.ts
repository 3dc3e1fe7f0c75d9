/** The ATOM administration over http: topics, subscriptions, rules, queues. What the SDK's client reads, it writes. */
import http from 'node:http';
import { AmqpError } from './amqp-error.ts';
import type { Entity, EntitySettings } from './entity.ts';
import { alwaysTrue, type Namespace, type Subscription, type Topic } from './namespace.ts';
import { systemNames, type Rule } from './filters.ts';
import { duration, durationMs, element, escape, textOf, unescape, within } from './xml.ts';

const schema = 'http://schemas.microsoft.com/netservices/2010/10/servicebus/connect';
const instance = 'http://www.w3.org/2001/XMLSchema-instance';

export interface AdministrationSwitches {
  /** Answers everything with this status. */
  denied: 401 | 403 | undefined;
}

/** After a removal, before the answer: receivers hear of it first. */
const farewellMs = 20;

export function createAdministration(namespace: Namespace, switches: AdministrationSwitches): http.Server {
  return http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      const answer = (status: number, xml: string): void => {
        response.writeHead(status, { 'content-type': 'application/atom+xml' });
        response.end(xml);
      };
      const fail = (status: number, detail: string): void => answer(status, `<Error><Code>${status}</Code><Detail>${escape(detail)}</Detail></Error>`);
      if (switches.denied) return fail(switches.denied, switches.denied === 401 ? 'Manage,EntityWrite claims are required for this operation.' : 'Ip has been prevented to connect to the endpoint.');
      try {
        const url = new URL(request.url ?? '/', 'http://localhost');
        const xml = handle({ namespace, method: request.method ?? 'GET', path: decodeURIComponent(url.pathname).slice(1), query: url.searchParams, body, update: request.headers['if-match'] !== undefined });
        if (request.method === 'DELETE') setTimeout(() => answer(200, ''), farewellMs);
        else answer(request.method === 'PUT' ? 201 : 200, xml);
      } catch (error) {
        const condition = error instanceof AmqpError ? error.condition : '';
        const status = condition === 'amqp:not-found' ? 404 : condition.endsWith('already-exists') ? 409 : 400;
        fail(status, String((error as Error).message));
      }
    });
  });
}

interface Request {
  readonly namespace: Namespace;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
  readonly update: boolean;
}

function handle(request: Request): string {
  const { namespace, path, method } = request;
  if (/^\$resources\/topics$/i.test(path)) return feed([...namespace.topics.values()].map(topicXml), request);
  if (/^\$resources\/queues$/i.test(path)) return feed([...namespace.queues.values()].map(({ entity }) => queueXml(entity)), request);
  const [, topic, inTopic] = /^(.*?)\/subscriptions(?:\/(.*))?$/i.exec(path) ?? [];
  if (topic === undefined) return handleTop(request);
  if (inTopic === undefined || inTopic === '') return feed([...namespace.topic(topic).subscriptions.values()].map(subscriptionXml), request);
  const [, name = inTopic, , rule] = /^([^/]+)(\/rules(?:\/(.*))?)?$/i.exec(inTopic)!;
  if (name === inTopic) return handleSubscription(request, topic, name);
  const subscription = namespace.subscription(topic, name);
  if (rule === undefined || rule === '') return feed([...subscription.rules.values()].map((one) => ruleXml(subscription, one)), request);
  if (method === 'PUT') namespace.addRule(subscription, ruleIn(request.body, rule));
  else if (method === 'DELETE') {
    namespace.removeRule(subscription, rule);
    return '';
  }
  const found = subscription.rules.get(rule.toLowerCase());
  if (!found) throw new AmqpError('amqp:not-found', `No rule ${rule}`);
  return ruleXml(subscription, found);
}

function handleTop({ namespace, method, path, body, update }: Request): string {
  const isTopic = namespace.topics.has(path.toLowerCase());
  if (method === 'DELETE') {
    if (isTopic) namespace.removeTopic(path);
    else namespace.removeQueue(path);
    return '';
  }
  if (method === 'PUT' && update) namespace.update(namespace.queue(path).entity, settingsIn(body));
  else if (method === 'PUT') {
    const duplicatesMs = textOf(body, 'RequiresDuplicateDetection') === 'true' ? (durationMs(textOf(body, 'DuplicateDetectionHistoryTimeWindow')) ?? 600_000) : undefined;
    if (body.includes('<TopicDescription')) return topicXml(namespace.createTopic(path, { duplicatesMs }));
    return queueXml(namespace.createQueue(path, { ...settingsIn(body), duplicatesMs }).entity);
  }
  return isTopic ? topicXml(namespace.topic(path)) : queueXml(namespace.queue(path).entity);
}

function handleSubscription({ namespace, method, body, update }: Request, topic: string, name: string): string {
  if (method === 'DELETE') {
    namespace.removeSubscription(topic, name);
    return '';
  }
  if (method === 'PUT' && update) namespace.update(namespace.subscription(topic, name).entity, settingsIn(body));
  else if (method === 'PUT') {
    const first = within(body, 'DefaultRuleDescription');
    const rules = [first === undefined ? alwaysTrue : ruleIn(first, textOf(first, 'Name') ?? '$Default')];
    namespace.createSubscription(topic, name, { ...settingsIn(body), rules });
  }
  return subscriptionXml(namespace.subscription(topic, name));
}

// --- in -----------------------------------------------------------------------------------------------------------------

function settingsIn(body: string): Partial<EntitySettings> {
  const given = (name: string): string | undefined => textOf(body, name);
  const settings = {
    lockMs: durationMs(given('LockDuration')),
    maxDeliveries: given('MaxDeliveryCount') === undefined ? undefined : Number(given('MaxDeliveryCount')),
    requiresSession: given('RequiresSession') === undefined ? undefined : given('RequiresSession') === 'true',
    ttlMs: durationMs(given('DefaultMessageTimeToLive')),
    deadLettersExpired: given('DeadLetteringOnMessageExpiration') === undefined ? undefined : given('DeadLetteringOnMessageExpiration') === 'true',
    status: given('Status'),
    userMetadata: given('UserMetadata'),
    autoDeleteMs: durationMs(given('AutoDeleteOnIdle')),
  };
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as Partial<EntitySettings>;
}

const correlationTags: Readonly<Record<string, string>> = {
  'correlation-id': 'CorrelationId',
  'message-id': 'MessageId',
  to: 'To',
  'reply-to': 'ReplyTo',
  label: 'Label',
  'session-id': 'SessionId',
  'reply-to-session-id': 'ReplyToSessionId',
  'content-type': 'ContentType',
};

function ruleIn(body: string, name: string): Rule {
  const filter = within(body, 'Filter') ?? '';
  const sql = textOf(filter, 'SqlExpression');
  if (sql !== undefined) return { name, filter: { sql } };
  const system = Object.fromEntries(systemNames.flatMap((key) => {
    const value = textOf(filter, correlationTags[key]!);
    return value === undefined ? [] : [[key, value]];
  }));
  const pairs = [...filter.matchAll(/<KeyValueOfstringanyType>\s*<Key>([^<]*)<\/Key>\s*<Value([^>]*)>([^<]*)<\/Value>/g)];
  const properties = Object.fromEntries(pairs.map(([, key, type, value]) => [unescape(key!), typed(type!, unescape(value!))]));
  return { name, filter: { correlation: { system, properties } } };
}

function typed(type: string, value: string): unknown {
  if (/:(double|int|long)"/.test(type)) return Number(value);
  return type.includes(':boolean"') ? value === 'true' : value;
}

// --- out ----------------------------------------------------------------------------------------------------------------

function entry(id: string, content: string): string {
  const now = new Date().toISOString();
  const title = id.split('/').at(-1)!;
  return `<entry xmlns="http://www.w3.org/2005/Atom"><id>http://localhost/${escape(id)}</id><title type="text">${escape(title)}</title><published>${now}</published><updated>${now}</updated><content type="application/xml">${content}</content></entry>`;
}

function feed(entries: readonly string[], { query }: Request): string {
  const skip = Number(query.get('$skip') ?? 0);
  const page = entries.slice(skip, skip + Number(query.get('$top') ?? 100));
  return `<feed xmlns="http://www.w3.org/2005/Atom"><title type="text">feed</title>${page.join('')}</feed>`;
}

/** Every description has these, or the SDK finds an answer that it cannot read. */
function always(): string {
  const now = new Date().toISOString();
  return [
    element('EnableBatchedOperations', true),
    element('EnablePartitioning', false),
    element('EnableExpress', false),
    element('SupportOrdering', true),
    element('SizeInBytes', 0),
    element('MaxSizeInMegabytes', 1024),
    element('CreatedAt', now),
    element('UpdatedAt', now),
    element('AccessedAt', now),
    element('EntityAvailabilityStatus', 'Available'),
  ].join('');
}

function topicXml({ path, duplicatesMs, subscriptions }: Topic): string {
  const content = [
    element('DefaultMessageTimeToLive', duration(undefined)),
    element('AutoDeleteOnIdle', duration(undefined)),
    element('RequiresDuplicateDetection', duplicatesMs !== undefined),
    element('DuplicateDetectionHistoryTimeWindow', duration(duplicatesMs ?? 600_000)),
    element('Status', 'Active'),
    element('SubscriptionCount', subscriptions.size),
  ].join('');
  return entry(path, `<TopicDescription xmlns="${schema}">${content}${always()}</TopicDescription>`);
}

function receivable(entity: Entity): string {
  const { settings } = entity;
  const { active, scheduled, deadLettered } = entity.counts();
  const counts = Object.entries({ ActiveMessageCount: active, DeadLetterMessageCount: deadLettered, ScheduledMessageCount: scheduled, TransferMessageCount: 0, TransferDeadLetterMessageCount: 0 });
  return [
    element('LockDuration', duration(settings.lockMs)),
    element('MaxDeliveryCount', settings.maxDeliveries),
    element('RequiresSession', settings.requiresSession),
    element('DefaultMessageTimeToLive', duration(settings.ttlMs)),
    element('DeadLetteringOnMessageExpiration', settings.deadLettersExpired),
    element('DeadLetteringOnFilterEvaluationExceptions', true),
    element('AutoDeleteOnIdle', duration(settings.autoDeleteMs)),
    element('MessageCount', active + scheduled + deadLettered),
    element('Status', settings.status),
    element('UserMetadata', settings.userMetadata),
    `<CountDetails xmlns:d2p1="http://schemas.microsoft.com/netservices/2011/06/servicebus">${counts.map(([name, count]) => element(`d2p1:${name}`, count)).join('')}</CountDetails>`,
  ].join('');
}

function subscriptionXml({ entity }: Subscription): string {
  return entry(entity.path, `<SubscriptionDescription xmlns="${schema}">${receivable(entity)}${always()}</SubscriptionDescription>`);
}

function queueXml(entity: Entity): string {
  const duplicates = element('RequiresDuplicateDetection', false) + element('DuplicateDetectionHistoryTimeWindow', duration(600_000));
  return entry(entity.path, `<QueueDescription xmlns="${schema}">${receivable(entity)}${duplicates}${always()}</QueueDescription>`);
}

function ruleXml({ entity }: Subscription, { name, filter }: Rule): string {
  const action = `<Action i:type="EmptyRuleAction"/>`;
  const content = `${filterXml(filter)}${action}${element('CreatedAt', new Date().toISOString())}${element('Name', name)}`;
  return entry(`${entity.path}/Rules/${name}`, `<RuleDescription xmlns="${schema}" xmlns:i="${instance}">${content}</RuleDescription>`);
}

function filterXml(filter: Rule['filter']): string {
  if ('sql' in filter) return `<Filter i:type="SqlFilter">${element('SqlExpression', filter.sql)}</Filter>`;
  const { system, properties } = filter.correlation;
  const own = Object.entries(properties).map(
    ([key, value]) =>
      `<KeyValueOfstringanyType>${element('Key', key)}<Value xmlns:d6p1="http://www.w3.org/2001/XMLSchema" i:type="d6p1:${typeof value === 'number' ? 'double' : typeof value}">${escape(value)}</Value></KeyValueOfstringanyType>`,
  );
  const known = systemNames.map((key) => element(correlationTags[key]!, system[key])).join('');
  return `<Filter i:type="CorrelationFilter">${known}${own.length > 0 ? `<Properties>${own.join('')}</Properties>` : ''}</Filter>`;
}

