/** Looks at what a bus runs on, and says what would break a promise or is about to hurt. Changes nothing. */
import type { Finding } from '../contract/doctor.ts';
import type { BusInternals } from '../contract/internals.ts';

const severities: readonly Finding['severity'][] = ['unsafe', 'warning'];

export async function doctor(internals: BusInternals): Promise<Finding[]> {
  const store = await internals.store();
  const transport = await internals.transport();
  const found = [...((await store.examine?.()) ?? []), ...((await transport?.examine?.()) ?? []), ...retention(internals)];
  return found.sort((a, b) => severities.indexOf(a.severity) - severities.indexOf(b.severity) || (a.code < b.code ? -1 : 1));
}

/** A message that fails until its last retry must still stand in the ledger then, or nobody can bring it back. */
function retention({ horizonMs, subscriptions }: BusInternals): Finding[] {
  return subscriptions().flatMap(({ plan: { name, retry } }) => {
    let lastsMs = 0;
    for (let n = 0; n < retry.delayed && lastsMs <= horizonMs; n++) lastsMs += Math.min(retry.delayMs * 2 ** n, retry.delayMaxMs);
    if (lastsMs <= horizonMs) return [];
    return [
      {
        code: 'RETRIES_OUTLIVE_LEDGER',
        severity: 'warning',
        message: `${name} may go on retrying for more than the ${horizonMs} ms (horizonMs) that publishers keep what they sent`,
        next: 'Retry for a shorter time, or keep longer: raise horizonMs.',
      } as const,
    ];
  });
}
