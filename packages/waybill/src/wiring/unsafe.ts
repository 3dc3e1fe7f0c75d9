/**
 * What a bus refuses to start on: a store that cannot do what is asked of it, and the store's and the broker's findings of
 * severity `unsafe`, each unless it is accepted by name. Looked for once at each start, with the driver's few cheap questions.
 */
import { type Finding, type FindingCode, findingCodes } from '../contract/doctor.ts';
import { WaybillError } from '../contract/errors.ts';
import type { StoreSession } from '../contract/store.ts';

/** What a start makes itself. */
const made: ReadonlySet<FindingCode> = new Set(['DEAD_LETTERS_MISSING', 'QUEUE_MISSING']);

type Examined = { examine?(): Promise<readonly Finding[]> } | undefined;

/** From the option, else from `WAYBILL_ACCEPT`: names with commas between. @throws WaybillError `INVALID_OPTION` */
export function acceptedOf(given: readonly string[] | undefined, env: Readonly<Record<string, string | undefined>>): readonly FindingCode[] {
  const names = given ?? (env.WAYBILL_ACCEPT ?? '').split(',').map((name) => name.trim()).filter((name) => name !== ''); // prettier-ignore
  const unknown = names.find((name) => !(findingCodes as readonly string[]).includes(name));
  if (unknown === undefined) return names as FindingCode[];
  throw new WaybillError('INVALID_OPTION', `accept: there is no finding ${JSON.stringify(unknown)}; docs/doctor.md lists them`);
}

/** @throws WaybillError `UNSAFE`, with every such finding; a look that fails is `onTrouble`'s, and refuses nothing */
export async function refuseUnsafe(examined: readonly Examined[], accepted: readonly FindingCode[], onTrouble: (error: unknown) => void): Promise<void> {
  const found: Finding[] = [];
  for (const one of examined) {
    try {
      found.push(...((await one?.examine?.()) ?? []));
    } catch (error) {
      onTrouble(error);
    }
  }
  const unsafe = found.filter(({ code, severity }) => severity === 'unsafe' && !made.has(code) && !accepted.includes(code));
  if (unsafe.length === 0) return;
  const names = unsafe.map(({ code }) => `'${code}'`).join(', ');
  const each = unsafe.map(({ code, message, next }) => `${code}: ${message}. ${next}`).join(' ');
  throw new WaybillError('UNSAFE', `start: ${each} To run on it all the same, say so by name: createBus({ accept: [${names}] }), or WAYBILL_ACCEPT`);
}

/** @throws WaybillError `CAPABILITY_MISSING` */
export function refuseIncapable({ ports, capabilities: { log } }: StoreSession, asked: { readonly sagas: Iterable<string>; readonly readsLog: boolean }): void {
  const [saga] = asked.sagas;
  if (saga !== undefined && !ports.sagas) throw new WaybillError('CAPABILITY_MISSING', `this store keeps no sagas, and ${saga} needs one that does`);
  if (asked.readsLog && log !== true) {
    throw new WaybillError('CAPABILITY_MISSING', `relay: 'log' reads a database's log, and this store has none to read: ${log ?? "use 'inline' or 'worker'"}`);
  }
}
