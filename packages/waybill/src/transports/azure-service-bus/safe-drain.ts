/**
 * `@azure/service-bus` 7.9 stops a receiver by draining it. When that has no answer within 200 ms it closes the link in a timer,
 * whose promise nobody holds (core/receiverHelper.js): a link that the service closes with an error at that moment ends the
 * whole process by an unhandled rejection, and one whose connection is cut then is never closed. So the drain of a receiver
 * that we stop is given a link whose closing always ends. It reaches into the SDK; of another shape, nothing is changed.
 */
import { type Clock, sleep } from '../../contract/clock.ts';

/** The service answers a detach in a round trip. */
const closeMaxMs = 5_000;

interface ClosableLink {
  close(...how: unknown[]): Promise<void>;
}

interface ReceiverHelper {
  _getCurrentReceiver?: () => { receiver?: ClosableLink };
}

export function makeDrainSafe(receiver: object, clock: Clock): void {
  const helper = (receiver as { _streamingReceiver?: { _receiverHelper?: ReceiverHelper } })._streamingReceiver?._receiverHelper;
  const find = helper?._getCurrentReceiver;
  if (!helper || !find) return;
  const known = new WeakSet<ClosableLink>();
  helper._getCurrentReceiver = () => {
    const found = find();
    const link = found.receiver;
    if (link && !known.has(link)) {
      known.add(link);
      const close = link.close.bind(link);
      link.close = (...how) => endOf(close(...how), clock);
    }
    return found;
  };
}

async function endOf(closing: Promise<void>, clock: Clock): Promise<void> {
  const ended = new AbortController();
  await Promise.race([closing.catch(() => {}), sleep(clock, closeMaxMs, ended.signal)]);
  ended.abort();
}
