/** A message that can never succeed as it is gets other data, and is tried again. */
import { WaybillError } from '../contract/errors.ts';
import type { BusInternals } from '../contract/internals.ts';
import { writeJson } from '../contract/json.ts';
import type { FailedRow } from '../contract/store.ts';
import { versionsOf } from '../contract/versions.ts';

export async function editFailure(internals: BusInternals, row: number, data: unknown): Promise<boolean> {
  if (!Number.isSafeInteger(row)) throw new WaybillError('INVALID_OPTION', 'failures: pass the row number of a listed failure');
  const [failed] = await (await internals.store()).ports.inspect.failures({ after: row - 1, limit: 1 });
  if (failed?.row !== row) return false;
  const json = await checked(internals, failed, data);
  return (await internals.failures()).edit(row, Buffer.from(json));
}

/** By the contract with which the subscription reads it; what could not be sent is JSON within the limits, no more is known. */
async function checked(internals: BusInternals, { subscription, message }: FailedRow, data: unknown): Promise<string> {
  const plan = internals.subscriptions().find((one) => one.plan.name === subscription)?.plan;
  const contract = [...(plan?.handlers.values() ?? [])].flatMap((taker) => versionsOf(taker.contract)).find(({ type }) => type === message.type);
  if (!contract) return writeJson(data, message.type);
  const { json, key, sequence } = await internals.desk.check(contract, data);
  if (key !== message.key) throw elsewhere(message.type, 'key', message.key, key);
  const before = await internals.desk.check(contract, readable(message.body)).catch(() => undefined);
  if (before && before.sequence !== sequence) throw elsewhere(message.type, 'sequence', before.sequence, sequence);
  return json;
}

function readable(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString());
  } catch {
    return undefined;
  }
}

function elsewhere(type: string, what: string, was: unknown, is: unknown): WaybillError {
  return new WaybillError(
    'INVALID_OPTION',
    `${type}: an edit may not change the ${what} (${String(was)} → ${String(is)}), which is its place among the others; delete the failure and publish another message`,
  );
}
