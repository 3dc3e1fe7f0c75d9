/** Entering and leaving the log, for whoever has the lease. */
import { WaybillError } from '../../../contract/errors.ts';
import type { Access } from '../port.ts';
import { LogReader } from './reader.ts';
import { Mine } from './mine.ts';
import { dropSlot, slotName } from './slot.ts';

/** @throws WaybillError `CAPABILITY_MISSING` */
export function openMine(access: Access, wake: () => void, mayTake: () => Promise<boolean>): Mine {
  const { direct, clock, signals, sql, schema, schemaName, database, closers } = access;
  if (direct === undefined) throw new WaybillError('CAPABILITY_MISSING', "relay: 'log' needs a connection of its own: give `direct`, a postgres:// URL, beside the client");
  const reader = new LogReader({ direct, database, schema: schemaName, clock, signals, wake, mayTake });
  closers.add(() => reader.close());
  reader.start();
  return new Mine(reader, { sql, schema, clock, wake });
}

/** A relay that polls needs no slot, and one that nobody reads keeps the log for ever. In the background: it may not be there. */
export function leave({ sql, signals, database, schemaName }: Access): void {
  const slot = slotName(database, schemaName);
  dropSlot(sql, slot, () => Promise.resolve(true)).catch((error: unknown) => {
    if (!WaybillError.is(error)) signals.emit('log-slot', { slot, state: 'left', error });
  });
}
