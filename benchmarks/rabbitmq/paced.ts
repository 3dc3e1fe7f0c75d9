/** Messages at a pace, and how long each took from its COMMIT being sent to the broker's confirm. */
import { setTimeout as sleep } from 'node:timers/promises';
import amqplib from 'amqplib';
import { createBus, type Bus } from 'waybill';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { Counted, payload, silent } from './contract.ts';
import type { Servers } from './servers.ts';

export interface Confirms {
  /** By message id, of this process's monotonic clock. */
  readonly atMs: ReadonlyMap<string, number>;
  readonly dial: () => Promise<unknown>;
}

/** amqplib's connections, with the moment of each confirm written down. */
export function noteConfirms(url: string): Confirms {
  const atMs = new Map<string, number>();
  const dial = async (): Promise<unknown> => {
    const connection = await amqplib.connect(url, { noDelay: true });
    const create = connection.createConfirmChannel.bind(connection);
    connection.createConfirmChannel = async () => {
      const channel = await create();
      const publish = channel.publish.bind(channel);
      const open: (string | undefined)[] = [undefined]; // by delivery tag
      let lowest = 1;
      channel.publish = (exchange, key, content, options, done) => {
        open.push(String(options?.messageId));
        return publish(exchange, key, content, options, done);
      };
      channel.on('ack', ({ deliveryTag, multiple }: { deliveryTag: number; multiple: boolean }) => {
        const nowMs = performance.now();
        for (let tag = multiple ? lowest : deliveryTag; tag <= deliveryTag; tag++) {
          if (open[tag]) atMs.set(open[tag]!, nowMs);
          open[tag] = undefined;
        }
        while (lowest < open.length && open[lowest] === undefined) lowest++;
      });
      return channel;
    };
    return connection;
  };
  return { atMs, dial };
}

export function notedBus(servers: Servers, confirms: Confirms, relay: 'inline' | 'log' = 'inline'): Bus<any> {
  return createBus({ service: 'bench', relay, store: servers.postgres, transport: rabbitmq(confirms.dial as never), logger: silent });
}

/** Latencies in ms; one that is never confirmed within ten seconds is an error. */
export async function paced(bus: Bus<any>, confirms: Confirms, { everyMs, ms }: { everyMs: number; ms: number }): Promise<number[]> {
  const sentMs = new Map<string, number>();
  for (let n = 0, next = performance.now(), until = next + ms; next < until; n++, next += everyMs) {
    await sleep(Math.max(0, next - performance.now()));
    let id = '';
    let atMs = 0;
    await bus.transaction(async (tx: unknown) => {
      ({ id } = await bus.publish(Counted, payload(n), { tx: tx as never }));
      atMs = performance.now();
    });
    sentMs.set(id, atMs);
  }
  const deadline = performance.now() + 10_000;
  while ([...sentMs.keys()].some((id) => !confirms.atMs.has(id))) {
    if (performance.now() > deadline) throw new Error('some message was never confirmed');
    await sleep(5);
  }
  return [...sentMs].map(([id, atMs]) => confirms.atMs.get(id)! - atMs);
}
