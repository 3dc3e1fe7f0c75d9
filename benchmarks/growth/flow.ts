/** Messages through a bus, from the publish to an effect in the handler's transaction, and what each cost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bus, defineEvent } from 'waybill';
import * as z from 'zod';
import { payload } from '../rabbitmq/contract.ts';
import { type Cost, ofPasses } from './meter.ts';

export interface Flow {
  readonly cost: Cost;
  /** Each message had its effect once. */
  readonly correct: boolean;
}

const schema = z.object({ key: z.string(), n: z.number(), filler: z.string() });
export const flowEvent = (n: number) => defineEvent(`bench.flow${n}`, { schema, key: (event) => event.key });
const perBatch = 100;
const warmUp = 1_000;

export interface FlowOptions {
  readonly messages: number;
  /** So many times as many messages: the first are slower while V8 learns, and what else runs slows some. @default 1 */
  readonly passes?: number;
  /** Of one event each; the messages are for the first of them. */
  readonly subscriptions: number;
  readonly effect: (key: string, ctx: { tx?: unknown }) => Promise<unknown>;
  readonly effects: () => Promise<number>;
  readonly cost: (count: number, work: () => Promise<void>) => Promise<Cost>;
  /** Before anything is measured, once the tables are there. */
  readonly fill: () => Promise<void>;
  /** Of the subscriptions; on a broker that keeps nothing, one that begins in the past asks publishers first. */
  readonly from: 'now' | 'beginning';
  /** Where another bus publishes. @default the one that subscribes */
  readonly publisher?: Bus<any>;
}

export async function flowOf(bus: Bus<any>, { messages, passes = 1, subscriptions, effect, effects, cost, fill, from, publisher = bus }: FlowOptions): Promise<Flow> {
  let handled = 0;
  let told = (): void => {};
  for (let n = 0; n < subscriptions; n++) {
    bus.subscribe(flowEvent(n), { name: `s${n}`, from } as object, async ({ key }: { key: string }, ctx: { tx?: unknown; afterCommit(fn: () => void): void }) => {
      await effect(key, ctx);
      ctx.afterCommit(() => {
        handled++;
        told();
      });
    });
  }
  await bus.start();
  await publisher.start();
  try {
    const first = flowEvent(0);
    let published = 0;
    const pass = async (count: number): Promise<void> => {
      const aim = (published += count);
      const done = new Promise<void>((resolve) => (told = () => handled >= aim && resolve()));
      for (let at = aim - count; at < aim; at += perBatch) {
        await publisher.publishAll(Array.from({ length: Math.min(perBatch, aim - at) }, (_, i) => first.of(payload(at + i))));
      }
      await done;
    };
    await pass(perBatch); // the tables are there
    await fill();
    await pass(warmUp);
    await sleep(200);
    const spent: Cost[] = [];
    while (spent.length < passes) spent.push(await cost(messages, () => pass(messages)));
    return { cost: ofPasses(spent), correct: handled === published && (await effects()) === published };
  } finally {
    await publisher.stop();
    await bus.stop();
  }
}
