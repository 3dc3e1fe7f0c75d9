/** The one link to the broker: made at the first use, sought in the background while the broker is away, closed once. */
import { type Clock, sleep } from '../contract/clock.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Signals } from '../contract/signals.ts';
import type { TransportSession } from '../contract/transport.ts';

/** Between two tries to reach a broker that was away at the start. */
const reconnectMs = 1_000;
const reconnectMaxMs = 30_000;

export interface Link {
  /** Returns once the broker answered or is known to be away; throws what no waiting mends. */
  connect(once: () => Promise<TransportSession>): Promise<void>;
  /** What is connected now. */
  session(): TransportSession | undefined;
  /** Waits for the broker; undefined when the bus was stopped before. */
  connected(): Promise<TransportSession | undefined>;
  /** With growing pauses until it succeeds; undefined when the bus was stopped before. */
  keepTrying<R>(once: () => Promise<R>, failed: (error: unknown) => void): Promise<R | undefined>;
  /** A session that comes about only now is closed too. */
  close(): Promise<void>;
}

export function createLink({ clock, signals, stopping }: { clock: Clock; signals: Signals; stopping: AbortSignal }): Link {
  let session: TransportSession | undefined;
  let connecting: Promise<TransportSession | undefined> = Promise.resolve(undefined);
  let closed = false;

  const keepTrying: Link['keepTrying'] = async (once, failed) => {
    for (let pauseMs = reconnectMs; !stopping.aborted; pauseMs = Math.min(pauseMs * 2, reconnectMaxMs)) {
      await sleep(clock, pauseMs * (0.5 + clock.random() / 2), stopping);
      if (stopping.aborted) return undefined;
      try {
        return await once();
      } catch (error) {
        if (!stopping.aborted) failed(error);
      }
    }
    return undefined;
  };

  return {
    keepTrying,
    session: () => session,
    connected: () => connecting,
    async connect(open) {
      const once = async (): Promise<TransportSession> => {
        const opened = await open();
        if (closed) {
          await opened.close();
          throw new WaybillError('STOPPED', 'the bus was stopped');
        }
        session = opened;
        return opened;
      };
      try {
        connecting = Promise.resolve(await once());
      } catch (error) {
        if (!WaybillError.is(error, 'TRANSPORT_UNREACHABLE')) throw error;
        // A broker that is down stops nobody from publishing: it is sought in the background.
        signals.emit('relay-paused', { error });
        connecting = keepTrying(once, (again) => signals.emit('relay-paused', { error: again }));
      }
    },
    async close() {
      closed = true;
      await session?.close();
    },
  };
}
