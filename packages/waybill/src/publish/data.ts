import type { ContractDefinition } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import { parseJson, writeJson } from '../contract/json.ts';
import { andThen } from '../contract/maybe.ts';
import { keyOf, sequenceOf } from '../contract/order.ts';
import { describeIssues, validate } from '../contract/schema.ts';
import type { MaybePromise } from '../contract/store.ts';

export interface CheckedData {
  /** The input as JSON text: what the wire carries. */
  readonly json: string;
  /** What the schema made of exactly that JSON. */
  readonly output: unknown;
  readonly key: string | undefined;
  readonly sequence: bigint | undefined;
  /** Fields of the input that the schema dropped. */
  readonly extra: readonly string[];
}

/**
 * Data → the JSON that travels and what the contract says of it. Validated is the JSON read back, not the object, so
 * that what passes here passes at every receiver. At once, where the schema answers at once.
 */
export function checkData(contract: ContractDefinition, data: unknown): MaybePromise<CheckedData> {
  const what = contract.type;
  let json: string;
  try {
    json = writeJson(data, what);
  } catch (error) {
    return noJson(contract, data, error);
  }
  const input = parseJson(json, what, 'CONTRACT_VIOLATION');
  return andThen(validate(contract.schema, input, what), (result): MaybePromise<CheckedData> => {
    if (result.issues) return refuse(contract, data, describeIssues(result.issues));
    const output: unknown = result.value;
    return { json, output, key: keyOf(contract, output), sequence: sequenceOf(contract, output), extra: extraFields(input, output) };
  });
}

/** A bigint is no JSON. Where the schema asks for one (z.bigint()), no caller can do better: the schema is at fault. */
async function noJson(contract: ContractDefinition, data: unknown, error: unknown): Promise<never> {
  if (!WaybillError.is(error, 'CONTRACT_VIOLATION')) throw error;
  const asText = withBigintsAsText(data);
  if (asText === undefined || !(await takes(contract, data)) || (await takes(contract, asText))) throw error;
  const next = 'the schema takes only a bigint, which no JSON carries; let it read a big number as text';
  throw new WaybillError('SCHEMA_NOT_JSON', `${contract.type}: ${next}`, { cause: error });
}

function withBigintsAsText(data: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(data, (_name, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)));
  } catch {
    return undefined; // no JSON for another reason
  }
}

async function takes(contract: ContractDefinition, data: unknown): Promise<boolean> {
  try {
    return !(await validate(contract.schema, data, contract.type)).issues;
  } catch {
    return false;
  }
}

async function refuse(contract: ContractDefinition, data: unknown, issues: string): Promise<never> {
  // A schema that takes the value but not its JSON (z.date(), z.bigint()) would fail at every receiver.
  if (await takes(contract, data)) {
    throw new WaybillError(
      'SCHEMA_NOT_JSON',
      `${contract.type}: the schema takes this value but not its JSON (${issues}); let it read what JSON carries, for instance a date as an ISO string`,
    );
  }
  throw new WaybillError('CONTRACT_VIOLATION', `${contract.type}: the data does not fit the contract: ${issues}`);
}

/** Paths named at most: a signal, not a report. */
const pathsMax = 20;

/** Where the input has a field and the output's object has none. An output of another shape is the schema's business. */
function extraFields(input: unknown, output: unknown): string[] {
  const paths: string[] = [];
  const walk = (a: unknown, b: unknown, path: string): void => {
    if (paths.length >= pathsMax || a === b) return;
    if (Array.isArray(a) && Array.isArray(b)) {
      if (a.length === b.length) a.forEach((item, i) => walk(item, b[i], `${path}${i}.`));
    } else if (isPlain(a) && isPlain(b)) {
      for (const name of Object.keys(a)) {
        if (!Object.hasOwn(b, name)) paths.push(path + name);
        else walk(a[name], b[name], `${path}${name}.`);
      }
    }
  };
  walk(input, output, '');
  return paths.slice(0, pathsMax);
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const proto: unknown = Object.getPrototypeOf(value);
  return proto === Object.prototype || proto === null;
}
