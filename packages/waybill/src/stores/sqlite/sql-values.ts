/** JavaScript values as SQLite takes them, and rows as JavaScript code expects them. */
import { WaybillError } from '../../contract/errors.ts';
import type { SqlValue } from './port.ts';

/** The values of `$1`, `$2`, … as named parameters: SQLite numbers placeholders by where they stand first, not by name. */
export function bindings(values: readonly unknown[]): Record<string, SqlValue> {
  const bound: Record<string, SqlValue> = {};
  for (let at = 0; at < values.length; at++) bound[(names[at] ??= `$${at + 1}`)] = sqlValue(values[at], at + 1);
  return bound;
}
const names: string[] = [];

/** The same in their order, for `?1`, `?2`, … */
export function positions(values: readonly unknown[]): SqlValue[] {
  const bound: SqlValue[] = [];
  for (let at = 0; at < values.length; at++) bound.push(sqlValue(values[at], at + 1)); // no `map`, which skips holes
  return bound;
}

const integerMin = -(2n ** 63n);
const integerMax = 2n ** 63n - 1n;

function sqlValue(value: unknown, number: number): SqlValue {
  switch (typeof value) {
    case 'undefined':
      return null;
    case 'string':
      return value;
    case 'boolean':
      return value ? 1n : 0n;
    case 'number':
      // Node binds every number as a floating-point one: 5 in a text column would become '5.0', and 7 / 2 would be 3.5
      if (Number.isSafeInteger(value)) return BigInt(value);
      if (Number.isNaN(value)) throw unfit(number, 'NaN, which SQLite would store as null');
      return value;
    case 'bigint':
      if (value >= integerMin && value <= integerMax) return value;
      throw unfit(number, 'a bigint past 64 bits');
    case 'object':
      return value === null ? null : objectValue(value, number);
    case 'symbol':
    case 'function':
      throw unfit(number, `a ${typeof value}`);
  }
}

function objectValue(value: object, number: number): SqlValue {
  if (value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw unfit(number, 'an invalid Date');
    return value.toISOString();
  }
  if (value instanceof Map || value instanceof Set || value instanceof Promise) {
    throw unfit(number, `a ${value.constructor.name}, which has no JSON`);
  }
  return jsonText(value, number);
}

function jsonText(value: object, number: number): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    throw unfit(number, `an object that has no JSON (${(error as Error).message})`);
  }
  if (json === undefined) throw unfit(number, 'an object that has no JSON');
  return json;
}

function unfit(number: number, what: string): WaybillError {
  return new WaybillError('INVALID_SQL', `The value of $${number} is ${what}: pass text, a number, a boolean, a Date, bytes or plain data.`);
}

/** A row read with every integer as bigint: numbers where they are exact, as every driver answers; a plain object. */
export function plainRow(row: Record<string, unknown>): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const name in row) {
    const value = row[name];
    plain[name] = typeof value === 'bigint' && value >= safeMin && value <= safeMax ? Number(value) : value;
  }
  return plain;
}
const safeMin = BigInt(Number.MIN_SAFE_INTEGER);
const safeMax = BigInt(Number.MAX_SAFE_INTEGER);
