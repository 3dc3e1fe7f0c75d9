/** The `$management` node of an entity: one request, one answer. */
import rhea, { type Message } from 'rhea';
import { AmqpError, notFound } from './amqp-error.ts';
import type { Entity } from './entity.ts';
import { systemNames, type Rule } from './filters.ts';
import type { Namespace, Subscription } from './namespace.ts';
import { uuidBytes, uuidText } from './tokens.ts';
import { annotated, decode, encode } from './wire.ts';

const { types } = rhea;

/** AMQP type codes of the arrays in answers. */
const arrayOf = { long: 0x81, timestamp: 0x83 };
/** Descriptors of the described types in `enumerate-rules`. */
const described = { rule: 1335734829060, sql: 83483426822, correlation: 83483426825, action: 1335734829061 };

/** The body of the answer; undefined means 204, nothing there. @throws AmqpError */
export function manage(namespace: Namespace, address: string, request: Message): Record<string, unknown> | undefined {
  const { target, source } = namespace.resolve(address);
  const operation = String(request.application_properties?.['operation']).replace('com.microsoft:', '');
  const body = (request.body ?? {}) as Record<string, any>;
  const entity = (): Entity => source ?? fail(address);
  const tokens = (): string[] => (body['lock-tokens'] ?? []).map(uuidText);
  const numbers = (): number[] => (body['sequence-numbers'] ?? []).map(numberOf);
  const session = (): string => String(body['session-id']);
  switch (operation) {
    case 'renew-lock':
      return { expirations: types.wrap_array(tokens().map((token) => entity().renew(token)), arrayOf.timestamp, undefined as never) };
    case 'schedule-message': {
      const scheduled = (body['messages'] as { message: Buffer }[]).map(({ message }) => namespace.publish(target, decode(message)) ?? 0);
      return { 'sequence-numbers': types.wrap_array(scheduled, arrayOf.long, undefined as never) };
    }
    case 'cancel-scheduled-message':
      for (const seq of numbers()) namespace.cancelScheduled(target, seq);
      return {};
    case 'peek-message': {
      const wanted = body['session-id'] === undefined || body['session-id'] === null ? undefined : session();
      const found = entity().peek(numberOf(body['from-sequence-number']), numberOf(body['message-count']), wanted);
      return found.length === 0 ? undefined : { messages: found.map((stored) => ({ message: encode(annotated(stored)) })) };
    }
    case 'receive-by-sequence-number': {
      const messages = numbers().map((seq) => {
        const { stored, token } = entity().deferred(seq);
        return { message: encode(annotated(stored)), 'lock-token': types.wrap_uuid(uuidBytes(token) as never) };
      });
      return { messages };
    }
    case 'update-disposition':
      for (const token of tokens()) dispose(entity(), token, body);
      return {};
    case 'renew-session-lock':
      return { expiration: types.wrap_timestamp(entity().renewSession(session())) };
    case 'set-session-state':
      entity().setSessionState(session(), (body['session-state'] as Buffer | null) ?? null);
      return {};
    case 'get-session-state':
      return { 'session-state': entity().session(session()).state };
    case 'add-rule':
      namespace.addRule(subscriptionOf(namespace, address), ruleIn(String(body['rule-name']), body['rule-description']));
      return {};
    case 'remove-rule':
      namespace.removeRule(subscriptionOf(namespace, address), String(body['rule-name']));
      return {};
    case 'enumerate-rules': {
      const skip = numberOf(body['skip'] ?? 0);
      const page = [...subscriptionOf(namespace, address).rules.values()].slice(skip, skip + numberOf(body['top'] ?? 100));
      return page.length === 0 ? undefined : { rules: page.map((rule) => ({ 'rule-description': describe(rule) })) };
    }
    default:
      throw new AmqpError('amqp:not-implemented', `the stand-in does not know the operation ${operation}`);
  }
}

function dispose(entity: Entity, token: string, body: Record<string, any>): void {
  const changes = body['properties-to-modify'] as object | undefined;
  switch (body['disposition-status']) {
    case 'completed':
      return entity.complete(token);
    case 'abandoned':
      return entity.abandon(token, changes);
    case 'defered': // so the protocol spells it
      return entity.defer(token, changes);
    default:
      return entity.reject(token, body['deadletter-reason'], body['deadletter-description'], changes);
  }
}

function subscriptionOf(namespace: Namespace, address: string): Subscription {
  const [, topic, name] = /^(.*)\/subscriptions\/([^/]+)$/i.exec(address) ?? [];
  return name === undefined ? fail(address) : namespace.subscription(topic!, name);
}

function ruleIn(name: string, description: Record<string, any>): Rule {
  const sql = description['sql-filter'];
  if (sql) return { name, filter: { sql: String(sql.expression) } };
  const { properties = {}, ...given } = (description['correlation-filter'] ?? {}) as Record<string, any>;
  const system = Object.fromEntries(Object.entries(given).filter(([key, value]) => systemNames.includes(key) && value !== null)) as Record<string, string>;
  return { name, filter: { correlation: { system, properties } } };
}

function describe({ name, filter }: Rule): unknown {
  const of = (code: number, values: unknown[]): unknown => types.described(types.wrap_ulong(code) as never, types.wrap_list(values) as never);
  const inner =
    'sql' in filter
      ? of(described.sql, [filter.sql])
      : of(described.correlation, [...systemNames.map((key) => filter.correlation.system[key] ?? null), types.wrap_map(filter.correlation.properties)]);
  return of(described.rule, [inner, of(described.action, []), name]);
}

function numberOf(value: unknown): number {
  return Buffer.isBuffer(value) ? Number(value.readBigInt64BE(0)) : Number(value);
}

function fail(address: string): never {
  throw notFound(address);
}
