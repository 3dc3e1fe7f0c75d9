import { WaybillError } from '../../contract/errors.ts';
import { readBytesMax, type OutboxLease, type OutboxPort, type OutboxRow } from '../../contract/store.ts';
import type { Access } from './access.ts';
import { copyOfMessage, type Disk, type Relay } from './disk.ts';
import { addFailures } from './failures.ts';

const never: Relay = { owner: undefined, epoch: 0, expiresMs: 0, position: 0 };

/** The ledger: rows by position, and the relay's lease with an epoch that every write of its holder names. */
export function createOutbox({ disk, host, writing, write }: Access): OutboxPort {
  const { clock } = host;
  return {
    append: (tx, messages) =>
      writing(tx, ({ outbox }) => {
        for (const message of messages) {
          const position = disk.number();
          outbox.set(position, { ...copyOfMessage(message), position, storedMs: clock.now() });
        }
      }),

    lockKey: (tx) => writing(tx, () => {}), // transactions come one at a time

    acquire: (owner, leaseMs) =>
      write(({ relay }) => {
        const now = relay.get('relay') ?? never;
        if (now.owner !== undefined && now.owner !== owner && now.expiresMs > clock.now()) return undefined;
        const epoch = now.epoch + 1;
        relay.set('relay', { ...now, owner, epoch, expiresMs: clock.now() + leaseMs });
        return lease({ epoch, leaseMs, readUntil: now.position });
      }),

    trim: (beforeMs, max) =>
      write(({ outbox, relay }) => {
        const { position } = relay.get('relay') ?? never;
        const old = [...outbox.rows()].filter((row) => row.position <= position && row.storedMs < beforeMs).slice(0, max);
        for (const row of old) outbox.delete(row.position);
        if (old.length > 0) relay.set('relay', { ...(relay.get('relay') ?? never), trimmed: true });
        return old.length;
      }),

    async history({ types, after, sinceMs = -Infinity, untilMs = Infinity, max }) {
      const { position, trimmed = false } = disk.relay.committed.get('relay') ?? never;
      const rows: OutboxRow[] = [];
      for (let at = Number(after ?? 0) + 1; at <= position && rows.length <= max; at++) {
        const row = disk.outbox.committed.get(at);
        if (row && types.includes(row.type) && row.storedMs >= sinceMs && row.storedMs < untilMs) rows.push(row);
      }
      const messages = rows.slice(0, max).map(({ position: _, ...row }) => copyOfMessage(row));
      const more = rows.length > max;
      return { messages, next: String(more ? rows[max - 1]!.position : position), more, trimmed };
    },
  };

  function lease({ epoch, leaseMs, readUntil }: { epoch: number; leaseMs: number; readUntil: number }): OutboxLease {
    const held = ({ relay }: Disk): Relay | undefined => {
      const now = relay.get('relay');
      return now?.epoch === epoch && now.owner !== undefined ? now : undefined;
    };
    return {
      async read(max) {
        const rows: OutboxRow[] = [];
        let bytes = 0;
        for (let position = readUntil + 1; position <= disk.lastNumber && rows.length < max && bytes < readBytesMax; position++) {
          const row = disk.outbox.committed.get(position);
          if (row === undefined) continue;
          rows.push(copyOfMessage(row));
          bytes += row.body.length;
        }
        readUntil = rows.at(-1)?.position ?? readUntil;
        return rows;
      },
      settle: (position, parked) =>
        write((tables) => {
          const now = held(tables);
          if (now === undefined) throw new WaybillError('LEASE_LOST', 'another instance sends now; nothing was written');
          tables.relay.set('relay', { ...now, position: Math.max(position, now.position) });
          addFailures(tables, parked);
        }),
      renew: () =>
        write((tables) => {
          const now = held(tables);
          if (now !== undefined) tables.relay.set('relay', { ...now, expiresMs: clock.now() + leaseMs });
          return now !== undefined;
        }),
      release: () =>
        write((tables) => {
          const now = held(tables);
          if (now !== undefined) tables.relay.set('relay', { ...now, owner: undefined });
        }),
    };
  }
}
