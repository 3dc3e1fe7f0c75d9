import type { ContractDefinition } from './contracts.ts';
import { WaybillError } from './errors.ts';
import { limits } from './message.ts';

/** What a contract says of a message's place: its key and its sequence. Both are part of the contract, never of a call. */
export function keyOf(contract: ContractDefinition, output: unknown): string | undefined {
  if (!contract.key) return undefined;
  return checkKey(contract.type, callContract(contract, 'key', () => contract.key!(output)));
}

/** A key as every store can keep it and every header can carry. @throws WaybillError `CONTRACT_VIOLATION` */
export function checkKey(type: string, key: unknown): string {
  const wrong = (why: string): WaybillError => new WaybillError('CONTRACT_VIOLATION', `${type}: key ${why}`);
  if (typeof key !== 'string' || key === '') throw wrong(`must be a string that is not empty, not ${typeof key}`);
  if (key.length > limits.keyLength) throw wrong(`has ${key.length} characters, the limit is ${limits.keyLength}`);
  if (control.test(key)) throw wrong('has control characters');
  if (!key.isWellFormed()) throw wrong('is no well-formed Unicode');
  return key;
}

export function sequenceOf(contract: ContractDefinition, output: unknown): bigint | undefined {
  if (!contract.sequence) return undefined;
  return checkSequence(contract.type, callContract(contract, 'sequence', () => contract.sequence!(output)));
}

/** As `sequenceOf`, of what another sender may have published without one: undefined when the data has none. */
export function sequenceFrom(contract: ContractDefinition, output: unknown): bigint | undefined {
  if (!contract.sequence) return undefined;
  const sequence: unknown = callContract(contract, 'sequence', () => contract.sequence!(output));
  return sequence === undefined || sequence === null ? undefined : checkSequence(contract.type, sequence);
}

/** A sequence as every store can keep it, whoever sent it. @throws WaybillError `CONTRACT_VIOLATION` */
export function checkSequence(type: string, sequence: unknown): bigint {
  const whole =
    typeof sequence === 'bigint' ? sequence : Number.isSafeInteger(sequence) ? BigInt(sequence as number) : undefined;
  if (whole !== undefined && whole <= sequenceMax && whole >= -sequenceMax) return whole;
  throw new WaybillError('CONTRACT_VIOLATION', `${type}: sequence must be a whole number of at most 63 bits`);
}

/** A signed 64-bit integer, as every database keeps it. */
const sequenceMax = 2n ** 63n - 1n;
/** Characters that no header can carry (RFC 9110 §5.5 forbids CR, LF and NUL; the others help nobody). */
// eslint-disable-next-line no-control-regex
export const control: RegExp = /[\u0000-\u001f\u007f]/;

/** Runs a function of a contract, which is user code. @throws WaybillError `CONTRACT_VIOLATION` when it throws */
export function callContract<R>(contract: ContractDefinition, member: 'key' | 'sequence' | 'upcast' | 'downcast', fn: () => R): R {
  try {
    return fn();
  } catch (cause) {
    throw new WaybillError('CONTRACT_VIOLATION', `${contract.type}: the contract's ${member} function threw; mend the contract`, { cause });
  }
}
