/** A test bus as its world sees it: how it is woken, and what of it is still going on. */
import { internalsOf } from '../contract/internals.ts';
import { currentLife } from './life.ts';
import { type Incarnation, type Lives, orDeath } from './lives.ts';
import type { UserCode } from './user-code.ts';
import type { Inhabitant } from './world.ts';

export function createInhabitant<Tx>(of: {
  readonly service: string;
  readonly lives: Lives<Tx>;
  readonly userCode: UserCode;
  /** Whether it is to be started when it is woken. */
  readonly wanted: () => boolean;
  /** What is due leaves the ledger. */
  readonly relays: boolean;
  /** By full name; nobody takes what is queued there. */
  readonly paused: ReadonlySet<string>;
}): Inhabitant {
  const { service, lives, userCode, paused } = of;

  /** The life that is known to be up, with so many subscriptions. */
  let up: Incarnation<Tx> | undefined;
  let upSubscriptions = 0;
  const awake = async (): Promise<void> => {
    while (!lives.stopping && !currentLife() && of.wanted()) {
      while (lives.restarting) await lives.restarting;
      const mine = lives.now;
      await lives.start();
      const count = mine.subscriptions.length;
      for (const subscription of mine.subscriptions) if (subscription) await orDeath(mine.life, subscription.ready());
      if (mine.life.dead) continue; // it died meanwhile
      up = mine;
      upSubscriptions = count;
      return;
    }
  };

  return {
    awake,
    isAwake: () => !lives.restarting && lives.now === up && up.subscriptions.length === upSubscriptions,
    running() {
      if (lives.restarting) return [`${service}: it starts again`];
      if (lives.stopping) return [];
      const { bus, life } = lives.now;
      const open = internalsOf(bus).inFlight();
      return [
        ...userCode.running(),
        ...(life.busy > 0 ? [`${service}: ${life.busy} operations on store and transport are under way (${open} messages in hand)`] : []),
      ];
    },
    runningUserCode: () => (lives.stopping ? [] : userCode.running()),
    async outstanding() {
      const { bus, taps, sessions, started } = lives.now;
      if (lives.stopping || !started) return [];
      const internals = internalsOf(bus);
      const { ports } = await lives.store();
      const found: string[] = [];
      if (internals.inFlight() > 0) found.push(`${service}: ${internals.inFlight()} messages are in hand`);
      const { publishesAtCommit: atCommit = false, exclusive = false } = sessions.at(-1)?.capabilities ?? {};
      const { ready } = await ports.inspect.counts();
      if (of.relays && !atCommit && ready > 0) found.push(`${service}: ${ready} messages of the ledger are not sent`);
      if (of.relays) {
        const { rows } = await ports.waiting.due(undefined, 'now', 1);
        if (rows.length > 0) found.push(`${service}: a delayed message is due`);
      }
      found.push(...(await internals.outstanding(ports)));
      for (const { plan, active, sources } of internals.subscriptions()) {
        if (!active || paused.has(plan.name)) continue;
        const queued = sources.reduce((sum, source) => sum + (source.waiting ?? 0), 0);
        if (queued > 0) found.push(`${plan.name}: ${queued} messages are queued`);
        const { rows } = await ports.waiting.due(plan.name, 'now', 1, exclusive ? plan.name : lives.instance);
        if (rows.length > 0) found.push(`${plan.name}: a message that waited is due (${rows[0]!.reason}, attempt ${rows[0]!.attempt})`);
        const again = taps.reduce((sum, tap) => sum + (tap.subscription === plan.name ? tap.waiting : 0), 0);
        if (again > 0) found.push(`${plan.name}: ${again} messages are to be delivered again`);
      }
      return found;
    },
    redeliver: (id) => lives.now.taps.reduce((sum, tap) => sum + tap.redeliver(id), 0),
  };
}
