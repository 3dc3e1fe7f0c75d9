/** The answer to a command: checked by its contract, and addressed to whoever asked. */
import type { Clock } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Plan } from '../contract/handling.ts';
import { writeJson } from '../contract/json.ts';
import type { Envelope, WireMessage } from '../contract/message.ts';
import { describeIssues, validate } from '../contract/schema.ts';
import { versionsOf } from '../contract/versions.ts';
import { replyError } from '../handle/decode.ts';
import type { Publish } from '../publish/publish.ts';
import { writeReply } from '../publish/requests.ts';

export interface Replies {
  /** Nothing for a command that asks for none. @throws CONTRACT_VIOLATION when the value is not what the contract promises. */
  succeeded(command: Envelope, plan: Plan, value: unknown): Promise<WireMessage | undefined>;
  failed(command: Envelope, error: unknown): WireMessage | undefined;
}

export function createReplies({ publish, clock }: { publish: Publish; clock: Clock }): Replies {
  return {
    async succeeded(command, { handlers }, value) {
      if (command.replyTo === undefined) return undefined;
      const contract = [...handlers.values()].map((taker) => taker.contract).find((one) => versionsOf(one).some((v) => v.type === command.type));
      if (!contract?.reply) return publish.reply(command, writeReply({ ok: true, json: 'null' }));
      const json = writeJson(value, `the reply to ${command.type}`);
      const result = await validate(contract.reply, JSON.parse(json), `the reply to ${command.type}`, clock);
      if (result.issues) {
        throw new WaybillError('CONTRACT_VIOLATION', `the reply to ${command.type} does not fit its contract: ${describeIssues(result.issues)}`);
      }
      return publish.reply(command, writeReply({ ok: true, json }));
    },
    failed(command, error) {
      return command.replyTo === undefined ? undefined : publish.reply(command, writeReply({ ok: false, ...replyError(error) }));
    },
  };
}
