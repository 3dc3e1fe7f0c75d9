import type { Host, StoreTransaction } from '../../contract/store.ts';
import type { Disk } from './disk.ts';

/** What the ports need of their session. */
export interface Access {
  readonly disk: Disk;
  readonly host: Host;
  /** Runs `work` in the room's transaction, which begins now if it is lazy. */
  writing<R>(tx: StoreTransaction, work: (disk: Disk) => R): Promise<R>;
  /** A transaction of its own. */
  write<R>(work: (disk: Disk) => R): Promise<R>;
}
