/** What was written in an older version, read as the newest: the same for a message on receipt and an event in a stream. */
import type { Clock } from './clock.ts';
import type { ContractDefinition } from './contracts.ts';
import { WaybillError } from './errors.ts';
import { readJson } from './json.ts';
import { callContract } from './order.ts';
import { describeIssues, validate } from './schema.ts';

/** A contract and the older ones that it can be made from, newest first. */
export function versionsOf(contract: ContractDefinition): ContractDefinition[] {
  const versions = [contract];
  for (let newer = contract; newer.previous && newer.upcast; newer = newer.previous) versions.push(newer.previous);
  return versions;
}

/**
 * JSON of the first version → output of the last, each step validated.
 * @param steps oldest first, each made from the one before by its `upcast`
 * @param of `from` names the message in errors; with a clock an asynchronous schema is given a bounded time
 * @throws WaybillError `MESSAGE_UNDECODABLE`, `CONTRACT_VIOLATION`
 */
export async function readVersion(
  steps: readonly ContractDefinition[],
  json: string,
  of: { readonly type: string; readonly from: string; readonly clock: Clock },
): Promise<unknown> {
  let data = readJson(json, of.type);
  for (const [i, contract] of steps.entries()) {
    if (i > 0) {
      const older = data;
      data = callContract(contract, 'upcast', () => contract.upcast!(older));
    }
    const result = await validate(contract.schema, data, of.from, of.clock);
    if (result.issues) {
      throw new WaybillError('CONTRACT_VIOLATION', `${of.from} does not fit ${contract.type}: ${describeIssues(result.issues)}`);
    }
    data = result.value;
  }
  return data;
}
