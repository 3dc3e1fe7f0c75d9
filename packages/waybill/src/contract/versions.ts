/** What was written in an older version, read as the newest: the same for a message on receipt and an event in a stream. */
import type { Clock } from './clock.ts';
import type { ContractDefinition } from './contracts.ts';
import { WaybillError } from './errors.ts';
import type { Plan } from './handling.ts';
import { readJson } from './json.ts';
import { andThen } from './maybe.ts';
import { callContract } from './order.ts';
import { describeIssues, validate } from './schema.ts';
import type { MaybePromise } from './store.ts';

/** A contract and the older ones that it can be made from, newest first. */
export function versionsOf(contract: ContractDefinition): ContractDefinition[] {
  const versions = [contract];
  for (let newer = contract; newer.previous && newer.upcast; newer = newer.previous) versions.push(newer.previous);
  return versions;
}

/** Everything that a subscription takes from others, by type on the wire. */
export function typesOf({ handlers }: Plan): string[] {
  return [...handlers.values()].filter((taker) => !taker.own).flatMap(({ contract }) => versionsOf(contract).map(({ type }) => type));
}

/**
 * JSON of the first version → output of the last, each step validated; at once, where the schemas answer at once.
 * @param steps oldest first, each made from the one before by its `upcast`
 * @param of `from` names the message in errors; with a clock an asynchronous schema is given a bounded time
 * @throws WaybillError `MESSAGE_UNDECODABLE`, `CONTRACT_VIOLATION`
 */
export function readVersion(
  steps: readonly ContractDefinition[],
  json: string,
  of: { readonly type: string; readonly from: string; readonly clock: Clock },
): MaybePromise<unknown> {
  const from = (at: number, data: unknown): MaybePromise<unknown> => {
    const contract = steps[at];
    if (!contract) return data;
    const input = at === 0 ? data : callContract(contract, 'upcast', () => contract.upcast!(data));
    return andThen(validate(contract.schema, input, of.from, of.clock), (result) => {
      if (!result.issues) return from(at + 1, result.value);
      throw new WaybillError('CONTRACT_VIOLATION', `${of.from} does not fit ${contract.type}: ${describeIssues(result.issues)}`);
    });
  };
  return from(0, readJson(json, of.type));
}
