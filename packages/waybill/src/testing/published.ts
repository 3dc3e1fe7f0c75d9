import { type ContractDefinition, definitionOf } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import { readJson } from '../contract/json.ts';
import type { WireMessage } from '../contract/message.ts';
import { describeIssues } from '../contract/schema.ts';

/** The data of these messages that are of one contract, as its handler would get them. */
export function dataIn(messages: readonly WireMessage[], contract: unknown): unknown[] {
  const definition = definitionOf(contract);
  return messages.filter((message) => message.type === definition.type && message.kind === definition.kind).map((message) => dataOf(definition, message));
}

const text = new TextDecoder();

function dataOf(contract: ContractDefinition, message: WireMessage): unknown {
  const json = contract.format ? contract.format.decode(message.headers, message.body).json : text.decode(message.body);
  const result = contract.schema['~standard'].validate(readJson(json, contract.type));
  if (result instanceof Promise) {
    throw new WaybillError(
      'CAPABILITY_MISSING',
      `${contract.type} has an asynchronous schema, whose output cannot be had at once: look at messages(), or subscribe to it`,
    );
  }
  if (!result.issues) return result.value as unknown;
  throw new WaybillError('CONTRACT_VIOLATION', `${contract.type}: what was published does not fit: ${describeIssues(result.issues)}`);
}
