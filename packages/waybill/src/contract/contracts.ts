import { WaybillError } from './errors.ts';
import type { Format } from './format.ts';
import type { StandardSchema } from './schema.ts';

/** Options of one message. */
export interface MessageOptions {
  /**
   * The caller's own id (a request id, say); default a new UUIDv7. Receivers apply one message per (source, id), so an
   * id must never be used for two different messages.
   */
  id?: string;
  /** Own headers: lower-case names, printable values; at most 64 and 8 kB together with Waybill's own. */
  headers?: Record<string, string>;
  /** Leaves the sender's store no earlier than this many milliseconds from now; until then `cancel(id)` takes it back. */
  delayMs?: number;
  /** As `delayMs`, at a point in time. */
  deliverAt?: Date;
  /** Not applied any more this many milliseconds after it was published. */
  ttlMs?: number;
  /** Default: that of the message being handled, else the message's own id. */
  correlationId?: string;
  /** Default: the id of the message being handled. */
  causationId?: string;
}

declare const phantom: unique symbol;

/** A message that has not been published yet: `Contract.of(data, options?)`, for `publishAll`. */
export interface Draft {
  readonly type: string;
  readonly data: unknown;
  readonly options: MessageOptions;
  readonly [phantom]: 'draft';
}

/** What happened, for everybody who cares. Made by `defineEvent`. */
export interface EventContract<
  out Name extends string = string,
  in Input = any,
  out Output = unknown,
  out Marks extends string = string,
> {
  readonly kind: 'event';
  readonly name: Name;
  readonly version: number;
  /** The type on the wire: `${name}.v${version}`. */
  readonly type: string;
  readonly [phantom]?: { input: (input: Input) => void; output: Output; marks: Marks };
  of(data: Input, options?: MessageOptions): Draft;
}

/** What one service shall do. Made by `defineCommand`. */
export interface CommandContract<
  out Name extends string = string,
  in Input = any,
  out Output = unknown,
  out ReplyInput = any,
  out Reply = unknown,
> {
  readonly kind: 'command';
  readonly name: Name;
  readonly version: number;
  /** The type on the wire: `${name}.v${version}`. */
  readonly type: string;
  /** The service that handles it. */
  readonly to: string;
  readonly [phantom]?: { input: (input: Input) => void; output: Output; replyInput: ReplyInput; reply: Reply };
  of(data: Input, options?: MessageOptions): Draft;
}

/** What a handler gets: the schema's output. */
export type EventOf<C> =
  C extends EventContract<any, any, infer O, any>
    ? O
    : C extends CommandContract<any, any, infer O, any, any>
      ? O
      : never;
/** What `publish` and `send` take: the schema's input. */
export type InputOf<C> = C extends { of(data: infer I, ...rest: any[]): any } ? I : never;
/** What `request` resolves to. */
export type ReplyOf<C> = C extends CommandContract<any, any, any, any, infer R> ? R : never;

type MarksOf<K, S> = ([K] extends [never] ? never : 'key') | ([S] extends [never] ? never : 'sequence');

/**
 * Defines an event: its name, schema, and how it is ordered.
 *
 * @param name lower-case words with dots and dashes, the service first: `catalog.product-price-changed`.
 * @throws WaybillError `INVALID_CONTRACT` when the definition contradicts itself.
 */
export function defineEvent<
  const Name extends string,
  Input,
  Output,
  K extends string = never,
  S extends number | bigint = never,
  PreviousInput = never,
  PreviousOutput = never,
>(
  name: Name,
  definition: {
    /** Any Standard Schema. The wire carries its input as JSON; handlers get its output. */
    schema: StandardSchema<Input, Output>;
    /** @default 1 */
    version?: number;
    description?: string;
    /** Orders and partitions: messages of one key take effect in commit order under `order: 'by-key'`. */
    key?: (event: Output) => K;
    /** The entity's version: rises with each event of the key. Needed for `order: 'latest'`. */
    sequence?: (event: Output) => S;
    /** An older version of this event, or an older name. */
    previous?: EventContract<string, PreviousInput, PreviousOutput, string>;
    /** Old output → this input: subscribers of this version take the older one as well. */
    upcast?: (older: NoInfer<PreviousOutput>) => NoInfer<Input>;
    /** This output → old input: publishers of this version also send the older one, under the same id. */
    downcast?: (event: Output) => NoInfer<PreviousInput>;
    /** @default CloudEvents 1.0 */
    format?: Format;
  },
): EventContract<Name, Input, Output, MarksOf<K, S>> {
  return build('event', name, definition) as unknown as EventContract<Name, Input, Output, MarksOf<K, S>>;
}

/**
 * Defines a command: it goes to exactly one service, which may reply.
 *
 * @param name lower-case words with dots and dashes, the owning service first: `ordering.create-order`.
 * @throws WaybillError `INVALID_CONTRACT` when the definition contradicts itself.
 */
export function defineCommand<const Name extends string, Input, Output, ReplyInput = void, Reply = void>(
  name: Name,
  definition: {
    /** Any Standard Schema. The wire carries its input as JSON; the handler gets its output. */
    schema: StandardSchema<Input, Output>;
    /** The schema of the reply; without it the handler returns nothing. */
    reply?: StandardSchema<ReplyInput, Reply>;
    /** @default 1 */
    version?: number;
    /** The service that handles it. @default the first segment of the name */
    to?: string;
    description?: string;
    key?: (command: Output) => string;
    /** @default CloudEvents 1.0 */
    format?: Format;
  },
): CommandContract<Name, Input, Output, ReplyInput, Reply> {
  return build('command', name, definition) as unknown as CommandContract<Name, Input, Output, ReplyInput, Reply>;
}

/** A contract as the rooms see it: the definition without its types. */
export interface ContractDefinition {
  readonly kind: 'event' | 'command';
  readonly name: string;
  readonly version: number;
  readonly type: string;
  readonly to: string | undefined;
  readonly schema: StandardSchema<any, any>;
  readonly reply: StandardSchema<any, any> | undefined;
  readonly description: string | undefined;
  readonly key: ((data: any) => string) | undefined;
  readonly sequence: ((data: any) => number | bigint) | undefined;
  readonly previous: ContractDefinition | undefined;
  readonly upcast: ((older: any) => unknown) | undefined;
  readonly downcast: ((newer: any) => unknown) | undefined;
  readonly format: Format | undefined;
}

/** Shared symbols, so that a contract package that brings its own copy of waybill is understood. */
const definitionKey: unique symbol = Symbol.for('waybill.contract') as never;
const draftKey: unique symbol = Symbol.for('waybill.draft') as never;

/** The definition behind a contract. @throws WaybillError `INVALID_CONTRACT` for anything else. */
export function definitionOf(contract: unknown): ContractDefinition {
  const found = (contract as { [definitionKey]?: ContractDefinition } | null | undefined)?.[definitionKey];
  if (found) return found;
  throw new WaybillError('INVALID_CONTRACT', 'this is no contract: make it with defineEvent() or defineCommand()');
}

/** The contract that made a draft. @throws WaybillError `INVALID_CONTRACT` for anything else. */
export function definitionOfDraft(draft: unknown): ContractDefinition {
  const found = (draft as { [draftKey]?: ContractDefinition } | null | undefined)?.[draftKey];
  if (found) return found;
  throw new WaybillError('INVALID_CONTRACT', 'publishAll takes drafts: write Contract.of(data, options?)');
}

const namePattern = /^[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*$/;
const servicePattern = /^[a-z][a-z0-9-]{0,62}$/;
const nameLengthMax = 150;
/** Older versions that one contract may reach through `previous`: a bound for a chain made by mistake. */
const previousMax = 32;

/** @throws WaybillError `INVALID_OPTION` unless it is 1–63 lower-case letters, digits and dashes. */
export function checkServiceName(name: unknown): asserts name is string {
  if (typeof name === 'string' && servicePattern.test(name)) return;
  throw new WaybillError(
    'INVALID_OPTION',
    `the service name ${JSON.stringify(name)} must be 1 to 63 lower-case letters, digits and dashes, a letter first`,
  );
}

interface LooseDefinition {
  schema: StandardSchema<any, any>;
  reply?: StandardSchema<any, any>;
  version?: number;
  to?: string;
  description?: string;
  key?: (data: any) => string;
  sequence?: (data: any) => number | bigint;
  previous?: unknown;
  upcast?: (older: any) => unknown;
  downcast?: (newer: any) => unknown;
  format?: Format;
}

/** What a definition may say. */
const words: Readonly<Record<'event' | 'command', ReadonlySet<string>>> = {
  event: new Set(['schema', 'version', 'description', 'key', 'sequence', 'previous', 'upcast', 'downcast', 'format']),
  command: new Set(['schema', 'reply', 'version', 'to', 'description', 'key', 'format']),
};

function build(kind: 'event' | 'command', name: string, loose: LooseDefinition): object {
  const refuse = (why: string): never => {
    throw new WaybillError('INVALID_CONTRACT', `contract ${JSON.stringify(name)}: ${why}`);
  };
  if (typeof name !== 'string' || !namePattern.test(name) || name.length > nameLengthMax) {
    refuse(`a name is up to ${nameLengthMax} lower-case letters and digits in words joined by dots and dashes`);
  }
  if (typeof loose !== 'object' || loose === null) refuse('pass a definition, { schema } at least');
  for (const word of Object.keys(loose)) if (!words[kind].has(word)) refuse(`${JSON.stringify(word)} is no part of ${kind === 'event' ? 'an event' : 'a command'}`);
  const version = loose.version ?? 1;
  if (!Number.isSafeInteger(version) || version < 1) refuse('version must be a whole number from 1 on');
  const isSchema = (value: unknown): boolean =>
    typeof (value as StandardSchema | undefined)?.['~standard']?.validate === 'function';
  if (!isSchema(loose.schema)) refuse('schema must be a Standard Schema (zod, valibot, arktype, …)');
  if (loose.reply !== undefined && !isSchema(loose.reply)) refuse('reply must be a Standard Schema');
  const to = kind === 'command' ? (loose.to ?? name.split('.')[0]!) : undefined;
  if (to !== undefined && !servicePattern.test(to)) refuse(`"to" is no service name: ${JSON.stringify(to)}`);
  const previous = loose.previous === undefined ? undefined : definitionOf(loose.previous);
  if (previous === undefined && (loose.upcast || loose.downcast)) refuse('upcast and downcast need previous');
  for (const member of ['key', 'sequence', 'upcast', 'downcast'] as const) {
    if (loose[member] !== undefined && typeof loose[member] !== 'function') refuse(`${member} must be a function`);
  }
  if (loose.format !== undefined && (typeof loose.format?.encode !== 'function' || typeof loose.format.decode !== 'function')) {
    refuse('format must be what a format factory returned');
  }
  if (previous && previous.kind !== kind) refuse(`previous is ${previous.kind === 'event' ? 'an event' : 'a command'}`);
  const type = `${name}.v${version}`;
  let depth = 0;
  for (let older = previous; older; older = older.previous) {
    if (older.type === type) refuse(`previous has the same name and version`);
    if (++depth > previousMax) refuse(`more than ${previousMax} older versions`);
  }
  const definition: ContractDefinition = Object.freeze({
    kind,
    name,
    version,
    type,
    to,
    schema: loose.schema,
    reply: loose.reply,
    description: loose.description,
    key: loose.key,
    sequence: loose.sequence,
    previous,
    upcast: loose.upcast,
    downcast: loose.downcast,
    format: loose.format,
  });
  return Object.freeze({
    kind,
    name,
    version,
    type,
    ...(to === undefined ? {} : { to }),
    of: (data: unknown, options: MessageOptions = {}) =>
      Object.freeze({ type, data, options, [draftKey]: definition }),
    [definitionKey]: definition,
  });
}
