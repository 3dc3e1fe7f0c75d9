import { WaybillError, asError } from './errors.ts';
import { limits } from './message.ts';

/**
 * Data as JSON text, within the limits on size and nesting.
 * @throws WaybillError `CONTRACT_VIOLATION` for what JSON cannot say (bigint, cycles, undefined), `MESSAGE_TOO_LARGE`.
 */
export function writeJson(data: unknown, what: string): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(data);
  } catch (cause) {
    if (cause instanceof RangeError) throw tooDeep(what, cause);
    throw new WaybillError(
      'CONTRACT_VIOLATION',
      `${what}: the data is no JSON (${asError(cause).message.split('\n')[0]!.slice(0, 500)}); publish plain values`,
      { cause },
    );
  }
  if (json === undefined) {
    throw new WaybillError('CONTRACT_VIOLATION', `${what}: there is no data; publish a value, {} or null at least`);
  }
  // A UTF-16 unit is at most three bytes of UTF-8: only texts that may be too long are measured.
  if (json.length * 3 > limits.bodyBytes && Buffer.byteLength(json) > limits.bodyBytes) {
    throw tooLarge(what, Buffer.byteLength(json));
  }
  checkNesting(json, what);
  return json;
}

/**
 * JSON text as data. Keys that reach into prototypes are refused (`__proto__`, `constructor.prototype`): a schema
 * library or a handler that copies them would change every object of the process.
 *
 * @param code whose fault it is: the sender's bytes, or the caller's data
 * @throws WaybillError with that code, or `MESSAGE_TOO_LARGE`
 */
export function readJson(json: string, what: string, code: Fault = 'MESSAGE_UNDECODABLE'): unknown {
  checkNesting(json, what);
  return parseJson(json, what, code);
}

type Fault = 'MESSAGE_UNDECODABLE' | 'CONTRACT_VIOLATION';

/** `readJson` for a text whose nesting has been checked: one of `writeJson`. */
export function parseJson(json: string, what: string, code: Fault): unknown {
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch (cause) {
    throw new WaybillError(code, `${what}: the body is no JSON (${(cause as Error).message})`, { cause });
  }
  if (suspicious.test(json) && poisoned(data)) {
    throw new WaybillError(code, `${what}: the body has a key that reaches into prototypes (__proto__, constructor.prototype); leave it out`);
  }
  return data;
}

/** Either key, also with letters written as `\u` escapes; a hit costs one walk, no more. */
const suspicious = /"(?:_|\\u005f){2}proto|"constructor"|\\u00/i;

function poisoned(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(poisoned);
  if (Object.hasOwn(value, '__proto__')) return true;
  const maker = Object.hasOwn(value, 'constructor') ? (value as { constructor: unknown }).constructor : undefined;
  if (typeof maker === 'object' && maker !== null && Object.hasOwn(maker, 'prototype')) return true;
  return Object.values(value).some(poisoned);
}

/** Counts brackets outside strings; the parser itself would take any depth, and code after it would not. */
export function checkNesting(json: string, what: string): void {
  if (!hasMany(json, '{', '[')) return; // of few brackets none is deep: a tenth of the price of looking at each character
  let depth = 0;
  for (let i = 0; i < json.length; i++) {
    const c = json.charCodeAt(i);
    if (c === 0x22) {
      // A string: to its closing quote, over escaped characters.
      for (i++; i < json.length; i++) {
        const inside = json.charCodeAt(i);
        if (inside === 0x5c) i++;
        else if (inside === 0x22) break;
      }
    } else if (c === 0x7b || c === 0x5b) {
      if (++depth > limits.nesting) throw tooDeep(what);
    } else if (c === 0x7d || c === 0x5d) depth--;
  }
}

/** Whether there are more of these characters than levels are allowed, in strings or outside. */
function hasMany(json: string, ...characters: readonly string[]): boolean {
  let left = limits.nesting;
  for (const character of characters) {
    for (let at = json.indexOf(character); at >= 0; at = json.indexOf(character, at + 1)) if (--left < 0) return true;
  }
  return false;
}

function tooDeep(what: string, cause?: unknown): WaybillError {
  return new WaybillError(
    'MESSAGE_TOO_LARGE',
    `${what}: nested deeper than ${limits.nesting} levels; put large structures into a store and send a reference`,
    { cause },
  );
}

export function tooLarge(what: string, bytes: number): WaybillError {
  return new WaybillError(
    'MESSAGE_TOO_LARGE',
    `${what}: the body has ${bytes} bytes, the limit is ${limits.bodyBytes}; put it into a store and send a reference`,
  );
}
