/**
 * A relay as a process of its own, in mode `log` where no other is named, whose broker is a file. It ends by SIGKILL at the step that its role
 * names, in the third window after the log is read. `lying`: the broker says "stored" and has nothing.
 */
import { appendFileSync } from 'node:fs';
import { assembleBus } from '../../src/bus.ts';
import type { OutboxLease, StoreSession } from '../../src/contract/store.ts';
import type { Transport, TransportSession } from '../../src/contract/transport.ts';

export interface Role {
  readonly url: string;
  readonly file: string;
  readonly mode?: 'log' | 'inline';
  readonly dies?: 'before sending' | 'before the confirm' | 'after the confirm' | 'after settling' | 'lying';
}

const { url, file, dies, mode = 'log' } = JSON.parse(process.argv[2]!) as Role;
const windows = 3;
const confirmMs = 5;
const away = new Set(['STORE_UNREACHABLE', 'STORE_BUSY']);
const die = (): void => void process.kill(process.pid, 'SIGKILL');
let armed = false;
let sends = 0;
/** What the broker said it had, and has not. */
let lied: string | undefined;
const positions = new Map<string, number>();

const broker = {
  capabilities: { publishesAtCommit: false, sendsMax: 4 }, // what is sent first stands first in the file
  async send(messages) {
    const wanted = messages.filter(({ kind }) => kind === 'event').filter(({ type }) => type.startsWith('basket.'));
    if (armed && wanted.length > 0) sends++;
    if (sends === windows && dies === 'before sending') die();
    const lines = wanted.map(({ id, key }) => `${JSON.stringify({ id, key })}\n`);
    if (sends === windows && dies === 'before the confirm') {
      appendFileSync(file, lines[0]!);
      die();
    }
    if (sends === windows && dies === 'lying' && wanted.length > 0) lied = wanted.at(-1)!.id;
    else appendFileSync(file, lines.join(''));
    if (sends === windows && dies === 'after the confirm') die();
    await new Promise((resolve) => setTimeout(resolve, Math.random() * confirmMs));
    return messages.map(() => ({ kind: 'stored' as const }));
  },
  declare: async () => {},
  consume: async () => ({ active: true, receive: (_, { signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve([]))), settle() {}, settleIn() {}, release() {}, progress: () => [], close: async () => {} }),
  listen: async () => ({ address: 'here', close: async () => {} }),
  remove: async () => {},
  close: async () => {},
} satisfies TransportSession;
const transport: Transport = { kind: 'file', connect: async () => broker };

const dying = (lease: OutboxLease): OutboxLease => ({
  async read(max) {
    const rows = await lease.read(Math.min(max, 20));
    for (const { id, position } of rows) positions.set(id, position);
    return rows;
  },
  async settle(position, parked) {
    await lease.settle(position, parked);
    if (sends >= windows && dies === 'after settling') die();
    if (lied !== undefined && position >= positions.get(lied)!) die();
  },
  renew: () => lease.renew(),
  release: () => lease.release(),
});
const wrapStore = (session: StoreSession): StoreSession => {
  const { outbox } = session.ports;
  const acquire: typeof outbox.acquire = async (...given) => {
    const lease = await outbox.acquire(...given);
    return lease && dying(lease);
  };
  return { ...session, ports: { ...session.ports, outbox: { ...outbox, acquire } } };
};

const bus = assembleBus({ service: 'basket', store: url, transport, relay: mode, logger: { debug() {}, info() {}, warn() {}, error() {} } }, { wrapStore });
bus.on('log-slot', ({ state }) => {
  armed ||= state === 'streaming';
  process.send?.(state);
});
for (let started = false; !started; ) {
  // the server may be away just now
  started = await bus.start().then(() => true, (error: unknown) => new Promise((resolve) => setTimeout(() => resolve(!away.has((error as { code?: string }).code ?? '')), 100)));
}
process.on('SIGTERM', () => void bus.stop().then(() => process.exit(0)));
