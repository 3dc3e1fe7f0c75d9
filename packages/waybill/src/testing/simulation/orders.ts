/**
 * The saga of the simulated services: an order has the shop reserve, then charge; a refusal, a cancellation or an answer
 * that takes too long has it take back what may have been done. Each step writes into the instance's own log what it did,
 * so the log is what was committed, in order.
 */
import type { Bus } from '../../contract/api.ts';
import { Reject } from '../../contract/errors.ts';
import type { Saga, SagaContext } from '../../contract/saga.ts';
import { defineSaga } from '../../saga/define.ts';
import { Cancelled, Charge, type Fate, Ordered, Release, Reserve, type Work, any } from './contracts.ts';
import type { SimulatedTransaction } from './unit.ts';
import type { Entry } from './story.ts';
import type { HandlerHost } from './workload.ts';

/** What an instance keeps. */
export interface OrderState {
  readonly log: Entry[];
  fate: Fate;
  patienceMs: number;
  /** When its timeout was last set, by the scheduler. */
  setMs: number;
}
type Step = SagaContext<OrderState, 'patience', 'reserve' | 'charge'>;
type Retry = { readonly retry: object; readonly timeoutMs: number };

/** The row in which the shop keeps what a saga had it do: 0 nothing, 1 done, 2 taken back for good. */
export function heldKey(saga: string, step: string): string {
  return `held/${saga}/${step}`;
}

export function orderProcess({ process, random, knobs, mended }: HandlerHost): Saga {
  const { scheduler } = process.machine;
  /** Writes down what this step did; then it may come to grief, and nothing of it must be there. */
  const note = async ({ state, message }: Step, does: Entry['does'], caused?: string): Promise<void> => {
    const { id, source, type } = message;
    state.log.push({ does, id, source, type, caused, atMs: scheduler.nowMs, setMs: state.setMs });
    if (process.dead) await new Promise(() => {});
    if (random.is(knobs.throws)) throw new Error('bad luck');
  };
  const wait = (saga: Step): void => {
    saga.timeout('patience', saga.state.patienceMs);
    saga.state.setMs = scheduler.nowMs;
  };
  const work = ({ key, state }: Step, step: Work['step']): Work => ({ key, n: 0, op: '', fate: step === 'charge' && state.fate === 'rejected' ? 'rejected' : 'fine', saga: key, step });
  const undo = async (saga: Step, step: Work['step']): Promise<void> => {
    if (saga.state.fate === 'doomed' && !mended()) throw new Error('it cannot be taken back');
    const { id } = await saga.send(Release, { ...work(saga, step), fate: 'fine' });
    await note(saga, `undo ${step}`, id);
  };

  return defineSaga('orders', {
    state: any<OrderState>(),
    initial: (): OrderState => ({ log: [], fate: 'fine', patienceMs: 0, setMs: 0 }),
    timeouts: { patience: 1_000 },
    steps: ['reserve', 'charge'],
  })
    .startedBy(Ordered, ({ key }) => key, async ({ fate, patienceMs }, saga) => {
      if (saga.state.log.length > 0) return note(saga, 'again');
      Object.assign(saga.state, { fate, patienceMs });
      saga.done('reserve'); // it may be, from now on
      wait(saga);
      const { id } = await saga.send(Reserve, work(saga, 'reserve'));
      await note(saga, 'start', id);
    })
    .on(Cancelled, ({ key }) => key, async (_, saga) => {
      saga.undo();
      await note(saga, 'cancelled');
    })
    .onReply(Reserve, async (_, saga) => {
      saga.done('charge');
      wait(saga);
      const { id } = await saga.send(Charge, work(saga, 'charge'));
      await note(saga, 'reserved', id);
    })
    .onReply(Charge, async (_, saga) => {
      saga.complete();
      await note(saga, 'charged');
    }, async (_, saga) => {
      saga.undo();
      await note(saga, 'refused');
    })
    .onTimeout('patience', async (saga) => {
      saga.undo();
      await note(saga, 'timeout');
    })
    .compensate('reserve', (saga) => undo(saga, 'reserve'))
    .compensate('charge', (saga) => undo(saga, 'charge')); // prettier-ignore
}

/** The shop's side: what was taken back is refused, also when it comes first. */
export function takeOrders(bus: Bus<SimulatedTransaction>, { process, random, knobs, ran }: HandlerHost, options: Retry): void {
  const handler =
    (name: string, becomes: 1 | 2) =>
    async (work: Work, ctx: any): Promise<{ ok: true }> => {
      const { tx, attempt, message } = ctx as { tx: SimulatedTransaction; attempt: number; message: { id: string; source: string; type: string } };
      const { id, source, type } = message;
      ran(name, id, attempt);
      if (work.fate === 'rejected') throw new Reject('it is not wanted');
      const row = heldKey(work.saga, work.step);
      await tx.put(row, Math.max(await tx.lock(row), becomes));
      await tx.effect({ subscription: name, id, source, type, key: work.key, n: work.n, caused: undefined });
      if (process.dead) await new Promise(() => {});
      if (random.is(knobs.throws)) throw new Error('bad luck');
      return { ok: true };
    };
  bus.handle(Reserve, { name: 'reserve', ...options }, handler('shop.reserve', 1));
  bus.handle(Charge, { name: 'charge', ...options }, handler('shop.charge', 1));
  bus.handle(Release, { name: 'release', ...options }, handler('shop.release', 2) as never);
}
