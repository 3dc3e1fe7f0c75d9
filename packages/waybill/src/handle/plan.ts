import type { CommonOptions, Order, TransactionMode } from '../contract/api.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Plan, Taker } from '../contract/handling.ts';
import { versionsOf } from '../contract/versions.ts';
import { told } from '../contract/told.ts';

export interface PlanOptions extends CommonOptions {
  order?: Order;
  transaction?: TransactionMode;
  lingerMs?: number;
  onFailed?: (event: any, ctx: any, error: unknown) => unknown;
}

const known: ReadonlySet<string> = new Set([
  'name', 'formerly', 'batch', 'retry', 'concurrency', 'timeoutMs', 'from', 'afterFailure', 'order', 'transaction', 'lingerMs', 'onFailed',
]); // prettier-ignore
const notFor: Readonly<Record<'sets' | 'single', ReadonlySet<string>>> = {
  sets: new Set(['order', 'transaction', 'onFailed']),
  single: new Set(['lingerMs']),
};
const retryWords: ReadonlySet<string> = new Set(['immediate', 'delayed', 'delayMs', 'delayMaxMs']);

/** A subscription's options with every default, checked. @throws WaybillError `INVALID_OPTION` */
export function planOf(fields: {
  name: string;
  kind: 'event' | 'command';
  setBased: boolean;
  service: string;
  options: PlanOptions;
}): Plan {
  const { name, options } = fields;
  const refuse = (option: string, why: string): never => {
    throw new WaybillError('INVALID_OPTION', `subscription ${name}: ${option} ${why}`);
  };
  const whole = (option: string, value: unknown, fallback: number, min: number, max: number): number => {
    if (value === undefined) return fallback;
    if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
      refuse(option, `must be a whole number from ${min} to ${max}, not ${told(value)}`);
    }
    return value as number;
  };
  const oneOf = <T extends string>(option: string, value: T | undefined, fallback: T, allowed: readonly T[]): T => {
    if (value === undefined) return fallback;
    if (!allowed.includes(value)) refuse(option, `must be one of ${allowed.join(', ')}, not ${told(value)}`);
    return value;
  };
  if (typeof options !== 'object' || options === null) refuse('options', 'must be an object');
  for (const option of Object.keys(options)) {
    if (!known.has(option) || notFor[fields.setBased ? 'sets' : 'single'].has(option)) refuse(option, 'is not known here');
  }
  const retry = options.retry === false ? { immediate: 0, delayed: 0 } : (options.retry ?? {});
  if (typeof retry !== 'object' || retry === null) refuse('retry', 'must be false or an object');
  for (const word of Object.keys(retry)) if (!retryWords.has(word)) refuse(`retry.${word}`, 'is not known');
  const from = options.from ?? 'now';
  if (from !== 'now' && from !== 'beginning' && !(from instanceof Date && !Number.isNaN(from.getTime()))) {
    refuse('from', "must be 'now', 'beginning' or a valid Date");
  }
  const order = oneOf('order', options.order, 'any', ['any', 'by-key', 'latest']);
  const afterFailure = oneOf('afterFailure', options.afterFailure, 'pass', ['pass', 'hold']);
  if (afterFailure === 'hold' && order !== 'by-key') refuse('afterFailure', "'hold' needs order 'by-key'");
  const { formerly = [] } = options;
  if (!Array.isArray(formerly)) refuse('formerly', 'must be a list of names');
  const formerNames = formerly.map((old) => fullName(fields.service, old));
  if (formerNames.includes(name)) refuse('formerly', 'names the subscription itself; leave that out');
  if (options.onFailed !== undefined && typeof options.onFailed !== 'function') refuse('onFailed', 'must be a function');

  return {
    name,
    kind: fields.kind,
    order,
    mode: oneOf('transaction', options.transaction, 'shared', ['shared', 'own', 'manual']),
    batch: options.batch === undefined && !fields.setBased ? undefined : whole('batch', options.batch, 100, 1, 10_000),
    concurrency: whole('concurrency', options.concurrency, 16, 1, 1_000),
    lingerMs: whole('lingerMs', options.lingerMs, 0, 0, 60_000),
    retry: {
      immediate: whole('retry.immediate', retry.immediate, 2, 0, 100),
      delayed: whole('retry.delayed', retry.delayed, 8, 0, 1_000),
      delayMs: whole('retry.delayMs', retry.delayMs, 1_000, 0, 86_400_000),
      delayMaxMs: whole('retry.delayMaxMs', retry.delayMaxMs, 600_000, 0, 30 * 86_400_000),
    },
    timeoutMs: whole('timeoutMs', options.timeoutMs, 30_000, 1, 86_400_000),
    from: from instanceof Date ? from.getTime() : from,
    formerly: formerNames,
    afterFailure,
    onFailed: options.onFailed,
    handlers: new Map(),
    setBased: fields.setBased,
  };
}

/** Adds a handler. @throws WaybillError `DUPLICATE_HANDLER`, or `INVALID_OPTION` when the order needs what the contract lacks. */
export function addTaker(plan: Plan, taker: Taker): void {
  const { contract } = taker;
  const refuse = (code: 'DUPLICATE_HANDLER' | 'INVALID_OPTION', why: string): never => {
    throw new WaybillError(code, `subscription ${plan.name}: ${why}`);
  };
  if (typeof taker.handler !== 'function') refuse('INVALID_OPTION', `the handler of ${contract.type} is no function`);
  if (plan.order !== 'any' && !contract.key && !taker.key) refuse('INVALID_OPTION', `order '${plan.order}' needs a contract with key, ${contract.type} has none`);
  if (plan.order === 'latest' && !contract.sequence) {
    refuse('INVALID_OPTION', `order 'latest' needs a contract with sequence, ${contract.type} has none`);
  }
  for (const { type } of versionsOf(contract)) {
    for (const other of plan.handlers.values()) {
      if (versionsOf(other.contract).some((version) => version.type === type)) refuse('DUPLICATE_HANDLER', `has a handler for ${type} already`);
    }
  }
  plan.handlers.set(contract.type, taker);
}

const namePattern = /^[a-z0-9][a-z0-9._-]{0,149}$/;

/** A given name belongs to its service, so that two services never share a queue. @throws WaybillError `INVALID_OPTION` */
export function fullName(service: string, name: string): string {
  if (typeof name !== 'string' || !namePattern.test(name)) {
    throw new WaybillError(
      'INVALID_OPTION',
      `subscription name ${told(name)}: up to 150 lower-case letters, digits, dots, dashes and underscores`,
    );
  }
  return name.startsWith(`${service}.`) ? name : `${service}.${name}`;
}
