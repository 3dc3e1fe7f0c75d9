/**
 * What an operator does after queues were deleted or a backup was put back, when all is at rest and something is missing: asks for an
 * audit, sends what nobody took at the time, and publishes the ledgers again. Receivers drop what they have.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createBus } from 'waybill';
import { operations } from 'waybill/operations';
import { type Ground, services } from './ground.ts';
import type { Line } from './history.ts';
import type { Processes } from './processes.ts';
import { isEvents, missingNow } from './state.ts';

/** How long audits may go on until they agree with what the databases hold. */
const auditMaxMs = 120_000;
const lookMs = 100;

export type Staff = Pick<Processes<never>, 'history' | 'say' | 'tell' | 'names'>;

export async function operate(ground: Ground, processes: Staff): Promise<void> {
  if (!processes.history.some(({ what }) => what === 'deleted' || what === 'restored')) return;
  const missing = await missingNow(ground);
  for (const [sub, ids] of missing) processes.say({ what: 'missing', sub, ids });
  const events = new Map([...missing].filter(([name]) => isEvents(name)).map(([name, ids]) => [name, ids.length]));
  if (events.size > 0) await audit(processes, events);
  processes.say({ what: 'republished' });
  for (const service of services) {
    const types = await ground.read<{ type: string }>(service, 'select distinct type from waybill_ledger');
    const bus = createBus({ service, store: ground.store(service), transport: ground.transport, relay: 'off', migrate: 'check', logger: { debug() {}, info() {}, warn() {}, error() {} } });
    try {
      await operations(bus).failures.retry({ code: 'UNROUTABLE' });
      if (types.length > 0) await operations(bus).outbox.republish({ types: types.map(({ type }) => type) });
    } finally {
      await bus.stop();
    }
  }
}

/** Until it says of each subscription what the databases say. */
async function audit({ history, names, tell }: Staff, events: ReadonlyMap<string, number>): Promise<void> {
  for (const untilMs = performance.now() + auditMaxMs; performance.now() < untilMs; ) {
    const found = new Map<string, number>();
    for (const service of ['shop', 'ordering']) {
      const from = history.length;
      tell(names.find((name) => name.startsWith(`${service} `))!, 'audit');
      const answers = (): Line[] => history.slice(from).filter(({ what, by }) => what === 'audited' && by.startsWith(`${service} `));
      while (!answers().some(({ sub }) => sub === undefined) && performance.now() < untilMs) await sleep(lookMs);
      for (const { sub, n } of answers()) if (sub !== undefined) found.set(sub, n!);
    }
    if ([...events].every(([name, n]) => found.get(name) === n)) return;
  }
}
