/** Long conversations as users define them, and as the rooms see what was defined. */
import type { Published } from './api.ts';
import type { CommandContract, ContractDefinition, EventContract, MessageOptions } from './contracts.ts';
import { WaybillError } from './errors.ts';
import type { Message } from './message.ts';
import type { StandardSchema } from './schema.ts';

/** A saga, ready to be run by a bus. Made by `defineSaga`. */
export interface Saga<out Name extends string = string> {
  readonly kind: 'saga';
  readonly name: Name;
  readonly version: number;
}

/**
 * What a step of a saga has in hand. All of it takes effect in the transaction of the step, or not at all. It has no
 * `tx`: a saga decides, a handler writes.
 *
 * @throws WaybillError `SAGA_ENDED` from `timeout`, `done`, `undo` and `complete` once this step has ended the saga, or is over
 */
export interface SagaContext<State, Timeout extends string = string, Step extends string = string> {
  readonly key: string;
  /** Changed in place or assigned; validated and stored when the step ends. */
  state: State;
  /** The message that this step answers. */
  readonly message: Message;
  publish<I>(event: EventContract<string, I, unknown, string>, data: NoInfer<I>, options?: MessageOptions): Promise<Published>;
  /** Where the saga has `onReply` for this command, its reply comes back to this instance, also after a restart. */
  send<I>(command: CommandContract<string, I, unknown, any, unknown>, data: NoInfer<I>, options?: MessageOptions): Promise<Published>;
  /** Comes after so many milliseconds, never earlier; by default what the definition says. Setting it again replaces it. */
  timeout(name: Timeout, afterMs?: number): void;
  cancelTimeout(name: Timeout): void;
  /** This step may have had an effect: `undo` compensates it. Said before the effect is certain, it covers an unknown outcome too. */
  done(step: Step): void;
  /** Ends the saga by compensating what is done, in reverse, each step in a transaction of its own. */
  undo(): void;
  /** Ends the saga. */
  complete(): void;
}

type Step<Args extends unknown[]> = (...args: Args) => Promise<void> | void;

/** Why a command of a saga has no reply: the code and text of the handler that gave up. */
export interface ReplyFailure {
  readonly code: string;
  readonly message: string;
}

export interface SagaBuilder<out Name extends string, State, Timeouts extends string, Steps extends string> extends Saga<Name> {
  /** Begins an instance where there is none. Of several such events whichever comes first does; the others are steps like any. */
  startedBy<O>(
    event: EventContract<string, any, O, string>,
    key: (event: NoInfer<O>) => string,
    step: Step<[event: NoInfer<O>, saga: SagaContext<State, Timeouts, Steps>]>,
  ): this;
  /** An event that comes before the instance is there is tried again, and fails with `SAGA_NOT_FOUND` when it never is. */
  on<O>(
    event: EventContract<string, any, O, string>,
    key: (event: NoInfer<O>) => string,
    step: Step<[event: NoInfer<O>, saga: SagaContext<State, Timeouts, Steps>]>,
  ): this;
  /**
   * The reply to a command that this saga sent. `failed` takes the code of a handler that gave up; without it such a
   * reply parks the instance: it is in failures under that code.
   */
  onReply<R>(
    command: CommandContract<string, any, unknown, any, R>,
    step: Step<[reply: NoInfer<R>, saga: SagaContext<State, Timeouts, Steps>]>,
    failed?: Step<[failure: ReplyFailure, saga: SagaContext<State, Timeouts, Steps>]>,
  ): this;
  onTimeout(name: Timeouts, step: Step<[saga: SagaContext<State, Timeouts, Steps>]>): this;
  /** Undoes a step that is done: sends what takes it back. Runs once; a run that fails is retried, then parked. */
  compensate(step: Steps, undo: Step<[saga: SagaContext<State, Timeouts, Steps>]>): this;
}

/** A definition as the room `saga` sees it. */
export interface SagaDefinition {
  readonly name: string;
  readonly version: number;
  readonly schema: StandardSchema<any, any>;
  readonly initial: (key: string) => unknown;
  readonly timeouts: Readonly<Record<string, number>>;
  readonly steps: readonly string[];
  readonly late: 'drop' | 'fail';
  readonly migrate: ((old: unknown, fromVersion: number) => unknown) | undefined;
  readonly previous: SagaDefinition | undefined;
  /** By the event's type on the wire. */
  readonly events: Map<string, SagaEvent>;
  /** By the command's type on the wire. */
  readonly replies: Map<string, SagaReply>;
  readonly onTimeout: Map<string, (saga: any) => unknown>;
  readonly undo: Map<string, (saga: any) => unknown>;
  /** Run by a bus: nothing may be added any more. */
  sealed: boolean;
}

export interface SagaEvent {
  readonly contract: ContractDefinition;
  readonly starts: boolean;
  readonly key: (event: any) => string;
  readonly step: (event: any, saga: any) => unknown;
}

export interface SagaReply {
  readonly contract: ContractDefinition;
  readonly step: (reply: any, saga: any) => unknown;
  readonly failed: ((failure: ReplyFailure, saga: any) => unknown) | undefined;
}

/** Shared, so that a package that brings its own copy of waybill is understood. */
export const sagaKey: unique symbol = Symbol.for('waybill.saga') as never;

/** The definition behind a saga. @throws WaybillError `INVALID_SAGA` for anything else. */
export function definitionOfSaga(saga: unknown): SagaDefinition {
  const found = (saga as { [sagaKey]?: SagaDefinition } | null | undefined)?.[sagaKey];
  if (found) return found;
  throw new WaybillError('INVALID_SAGA', 'this is no saga: make it with defineSaga()');
}

/** The definition that serves an instance of this version: the same, one that migrates it, or the older one it is pinned to. */
export function serving(newest: SagaDefinition, version: number): SagaDefinition | undefined {
  if (newest.version < version) return undefined;
  for (let definition: SagaDefinition | undefined = newest; definition; definition = definition.previous) {
    if (definition.version === version || (definition.version > version && definition.migrate)) return definition;
  }
  return undefined;
}
