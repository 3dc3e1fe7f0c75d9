/** What a subscription's rule lets through: correlation filters, and the part of the SQL grammar that tests need. */
import type { Message } from 'rhea';
import { AmqpError } from './amqp-error.ts';

export interface CorrelationFilter {
  readonly system: Readonly<Record<string, string>>;
  readonly properties: Readonly<Record<string, unknown>>;
}

export interface Rule {
  readonly name: string;
  readonly filter: { readonly sql: string } | { readonly correlation: CorrelationFilter };
}

/** The system properties of correlation filters and of `sys.`, by the names that `$management` uses. */
const systemProperties: Readonly<Record<string, (message: Message) => unknown>> = {
  'correlation-id': (message) => message.correlation_id,
  'message-id': (message) => message.message_id,
  to: (message) => message.to,
  'reply-to': (message) => message.reply_to,
  label: (message) => message.subject,
  'session-id': (message) => message.group_id,
  'reply-to-session-id': (message) => message.reply_to_group_id,
  'content-type': (message) => message.content_type,
};

export const systemNames: readonly string[] = Object.keys(systemProperties);

export function matches({ filter }: Rule, message: Message): boolean {
  if ('sql' in filter) return readSql(filter.sql)(message);
  const { system, properties } = filter.correlation;
  for (const [name, value] of Object.entries(system)) if (systemProperties[name]?.(message) !== value) return false;
  for (const [name, value] of Object.entries(properties)) if (own(message, name) !== value) return false;
  return true;
}

function own({ application_properties }: Message, name: string): unknown {
  return Object.hasOwn(application_properties ?? {}, name) ? application_properties![name] : undefined;
}

type Test = (message: Message) => boolean;

/**
 * `a = 'x'`, `a <> 1`, `a IN ('x', 'y')`, `EXISTS(a)`, `a IS [NOT] NULL`, joined by AND and OR, names with `user.` or
 * `sys.`. Comparing something absent is false, as in SQL. @throws AmqpError for the rest of the grammar
 */
export function readSql(text: string): Test {
  const any = text.split(/\s+or\s+/i).map((part) => part.split(/\s+and\s+/i).map(term));
  return (message) => any.some((all) => all.every((test) => test(message)));
}

function term(text: string): Test {
  const trimmed = text.trim();
  if (/^(1\s*=\s*1|true)$/i.test(trimmed)) return () => true;
  if (/^(1\s*=\s*0|false)$/i.test(trimmed)) return () => false;
  const exists = /^exists\s*\(\s*([\w.\-[\]]+)\s*\)$/i.exec(trimmed);
  if (exists) return (message) => property(exists[1]!)(message) !== undefined;
  const isNull = /^([\w.\-[\]]+)\s+is\s+(not\s+)?null$/i.exec(trimmed);
  if (isNull) return (message) => (property(isNull[1]!)(message) === undefined) === (isNull[2] === undefined);
  const isIn = /^([\w.\-[\]]+)\s+in\s*\((.*)\)$/i.exec(trimmed);
  if (isIn) {
    const values = isIn[2]!.split(',').map((value) => literal(value.trim()));
    return (message) => values.includes(property(isIn[1]!)(message));
  }
  const compares = /^([\w.\-[\]]+)\s*(=|<>|!=)\s*(.+)$/.exec(trimmed);
  if (!compares) throw unknown(text);
  const [read, value, equal] = [property(compares[1]!), literal(compares[3]!.trim()), compares[2] === '='];
  return (message) => {
    const found = read(message);
    return found !== undefined && (found === value) === equal;
  };
}

function property(name: string): (message: Message) => unknown {
  const plain = name.replace(/[[\]]/g, '');
  if (!/^sys\./i.test(plain)) return (message) => own(message, plain.replace(/^user\./i, ''));
  const wanted = plain.slice('sys.'.length).toLowerCase();
  const read = Object.entries(systemProperties).find(([known]) => known.replaceAll('-', '') === wanted)?.[1];
  if (!read) throw unknown(name);
  return read;
}

function literal(text: string): unknown {
  const quoted = /^'((?:[^']|'')*)'$/.exec(text);
  if (quoted) return quoted[1]!.replaceAll("''", "'");
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text);
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true';
  throw unknown(text);
}

function unknown(text: string): AmqpError {
  return new AmqpError('amqp:not-implemented', `the stand-in does not know this SQL filter: ${text}`);
}
