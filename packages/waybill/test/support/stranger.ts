import type { WireMessage } from '../../src/contract/message.ts';
import { memory as memoryStore } from '../../src/stores/memory/index.ts';
import { createSignals } from '../../src/observe/signals.ts';
import { virtualClock } from 'waybill/testing';
import type { Transport } from 'waybill';

/** Somebody else at the broker, who sends what no bus would. */
export async function stranger(transport: Transport): Promise<{ send(message: Partial<WireMessage>): Promise<void> }> {
  const clock = virtualClock();
  const host = { service: 'stranger', clock, signals: createSignals(), logger: console, migrate: 'auto' as const };
  const session = await transport.connect({ ...host, store: await memoryStore().open(host) });
  let count = 0;
  return {
    async send(message) {
      const id = message.id ?? `stranger-${++count}`;
      const type = message.type ?? 'desk.noted.v1';
      const headers = message.headers ?? headersOf(id, type);
      await session.send([
        { kind: 'event', source: 'stranger', recipient: undefined, key: undefined, time: clock.now(), body: Buffer.from('{"text":"strange"}'), ...message, id, type, headers },
      ]);
    },
  };
}

/** As another implementation of CloudEvents would send them. */
export function headersOf(id: string, type: string, more: Record<string, string> = {}): Record<string, string> {
  return {
    'ce-specversion': '1.0',
    'ce-id': id,
    'ce-source': 'stranger',
    'ce-type': type,
    'ce-time': '2030-01-01T00:00:00.000Z',
    'content-type': 'application/json',
    ...more,
  };
}
