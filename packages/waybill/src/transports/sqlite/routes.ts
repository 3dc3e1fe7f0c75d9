/**
 * Whether somebody takes a command or waits for a reply, asked while its sender's transaction is open, so at once and from files: a command
 * to a service that has no handler for it would lie in the ledger for ever. In doubt it is taken: what is wrongly thought
 * unroutable would be parked, what is wrongly sent just waits.
 */
import type { Clock } from '../../contract/clock.ts';
import type { WireMessage } from '../../contract/message.ts';
import { isAnnounced } from './addresses.ts';
import type { Directory } from './directory.ts';
import { isServiceName } from './names.ts';
import { droppedGraceMs } from './subscriptions.ts';

/** A yes is remembered for this long; a no never, since the receiver may just be starting. */
const knownMs = 1_000;
/** Yeses remembered; past it all are asked for again. */
const knownMax = 1_000;

export function createRoutes(directory: Directory, clock: Clock): (message: WireMessage) => boolean {
  const known = new Map<string, number>();

  const ask = (type: string, service: string): boolean => {
    if (!isServiceName(service)) return false;
    const found = directory.find(service);
    if (found === undefined) return false;
    if ('error' in found) return found.isLedger;
    try {
      return found.takes('command', type, clock.now() - droppedGraceMs);
    } catch {
      return true;
    }
  };

  return ({ kind, type, recipient }) => {
    if (kind === 'event' || recipient === undefined) return true;
    const route = kind === 'reply' ? recipient : `${recipient} ${type}`;
    const nowMs = clock.monotonic();
    if ((known.get(route) ?? -Infinity) > nowMs) return true;
    const taken = kind === 'reply' ? isAnnounced(directory.path, recipient) : ask(type, recipient);
    if (known.size >= knownMax) known.clear();
    if (taken) known.set(route, nowMs + knownMs);
    else known.delete(route);
    return taken;
  };
}

/** Whether any service takes events of this type, as far as the ledgers tell now. */
export function takesEvents(directory: Directory, type: string, clock: Clock): boolean {
  for (const ledger of directory.ledgers.values()) {
    try {
      if (ledger.takes('event', type, clock.now() - droppedGraceMs)) return true;
    } catch {
      return true; // in doubt it is taken
    }
  }
  return false;
}
