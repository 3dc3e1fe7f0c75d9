/** What a step holds, and what it asked for: nothing of it is done before the step has ended. */
import type { HandlerContext, Published } from '../contract/api.ts';
import { definitionOf } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import { isDelay } from './define.ts';
import type { Instance } from './instance.ts';

/** A step in progress. */
export interface StepContext {
  /** As the user's code has it. */
  readonly saga: object;
  /** By name: after how many milliseconds, or undefined to take it back. In the order they were asked for. */
  readonly timeouts: ReadonlyMap<string, number | undefined>;
  /** How it ends the saga. */
  readonly end: 'complete' | 'undo' | undefined;
  /** What it sent and published, awaited or not. Rejects when one of them does. */
  sent(): Promise<void>;
  /** From now on it is refused. */
  close(): void;
}

export function createContext(
  instance: Instance,
  given: { readonly key: string; readonly name: string; readonly ctx: HandlerContext; readonly replyTo: string },
): StepContext {
  const { definition, ledger } = instance;
  const { key, name, ctx } = given;
  const timeouts = new Map<string, number | undefined>();
  let end: 'complete' | 'undo' | undefined;
  let closed = false;
  const sending = new Set<Promise<unknown>>();
  const kept = <R>(promise: Promise<R>): Promise<R> => {
    sending.add(promise);
    promise.catch(() => {}); // heard by `sent`
    return promise;
  };

  const check = (what: string): void => {
    if (closed) throw new WaybillError('SAGA_ENDED', `${name} ${key}: saga.${what}() after its step was over; await everything inside it`);
    const ended = end !== undefined ? `saga.${end}()` : instance.status === 'undoing' ? 'the compensation has begun' : undefined;
    if (ended !== undefined) throw new WaybillError('SAGA_ENDED', `${name} ${key}: saga.${what}() after ${ended}; what has ended begins nothing`);
  };
  const known = (names: readonly string[], what: string, asked: string): void => {
    if (!names.includes(asked)) throw new WaybillError('INVALID_OPTION', `saga ${definition.name} has no ${what} ${JSON.stringify(asked)}: name it in its definition`);
  };

  const send = async (contract: unknown, data: unknown, options: object = {}): Promise<Published> => {
    const { type } = definitionOf(contract);
    if (!definition.replies.has(type) || instance.status === 'undoing') return ctx.send(contract as never, data as never, options);
    const published = await ctx.send(contract as never, data as never, { ...options, replyTo: given.replyTo, replyKey: key } as object);
    ledger.asked[published.id] = type;
    return published;
  };

  const saga = {
    key,
    get state() {
      return instance.state;
    },
    set state(state) {
      instance.state = state;
    },
    message: ctx.message,
    publish: (contract: never, data: never, options?: object) => kept(ctx.publish(contract, data, options)),
    send: (contract: unknown, data: unknown, options?: object) => kept(send(contract, data, options)),
    timeout(timeout: string, afterMs?: number) {
      check('timeout');
      known(Object.keys(definition.timeouts), 'timeout', timeout);
      const ms = afterMs ?? definition.timeouts[timeout]!;
      if (!isDelay(ms)) throw new WaybillError('INVALID_OPTION', `saga.timeout: afterMs must be a number of milliseconds from 0 on, not ${String(afterMs)}`);
      timeouts.delete(timeout);
      timeouts.set(timeout, ms);
    },
    cancelTimeout(timeout: string) {
      known(Object.keys(definition.timeouts), 'timeout', timeout);
      timeouts.set(timeout, undefined);
    },
    done(step: string) {
      check('done');
      known(definition.steps, 'step', step);
      if (!ledger.steps.some((entry) => entry.step === step)) ledger.steps.push({ step, undone: false });
    },
    undo() {
      check('undo');
      end = 'undo';
    },
    complete() {
      check('complete');
      end = 'complete';
    },
  };
  return {
    saga,
    timeouts,
    get end() {
      return end;
    },
    async sent() {
      for (let known = -1; known < sending.size; ) {
        known = sending.size;
        await Promise.all(sending);
      }
    },
    close() {
      closed = true;
    },
  };
}
