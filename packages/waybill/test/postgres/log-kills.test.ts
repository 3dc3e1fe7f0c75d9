/** Relays in mode `log` that die at each step, and the server with them: nothing is lost, and no key is reordered. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { StoreSession } from '../../src/contract/store.ts';
import type { PostgresServer } from '../support/postgres-server.ts';
import { until } from './log-session.ts';
import type { Role } from './log-process.ts';
import { named, server as startServer, session, skip } from './support.ts';

interface Sent {
  readonly id: string;
  readonly key: string;
}

const keys = 4;
const program = join(import.meta.dirname, 'log-process.ts');

describe('a relay of mode log that dies', { skip }, () => {
  let server: PostgresServer;
  let folder: string;
  const children = new Set<ChildProcess>();
  before(async () => {
    server = await startServer({ settings: { wal_level: 'logical' } });
    folder = mkdtempSync(join(tmpdir(), 'waybill-log-'));
  });
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Runs until it ends by itself, or is told to by SIGTERM. */
  function start(role: Role): { readonly states: string[]; readonly ended: Promise<void>; readonly child: ChildProcess } {
    const child = spawn(process.execPath, [program, JSON.stringify(role)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    children.add(child);
    const states: string[] = [];
    child.on('message', (state) => states.push(String(state)));
    return { states, child, ended: new Promise((resolve) => child.once('exit', () => resolve())) };
  }

  async function world(name: string) {
    const database = await server.createDatabase();
    const file = join(folder, name);
    writeFileSync(file, '');
    let store: StoreSession = await session(server.url(database));
    const published: Sent[] = [];
    return {
      file,
      url: server.url(database),
      sent: (): Sent[] => readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as Sent),
      /** So many transactions of two messages each. */
      async publish(count: number): Promise<void> {
        for (let i = 0; i < count; i++) {
          const messages = [0, 1].map(() => ({ id: `m${String(published.length).padStart(5, '0')}`, key: `k${published.length % keys}` })).map((one, n) => ({ ...one, id: `${one.id}-${n}` }));
          await store.transaction((tx) => store.ports.outbox.append(tx, messages.map(({ id, key }) => named(id, { key, type: 'basket.x.v1' }))));
          published.push(...messages);
        }
      },
      published,
      /** The dead one's lease need not be waited for. */
      free: () => server.query(`update waybill.position set expires_at = clock_timestamp()`, undefined, database),
      async restart(): Promise<void> {
        await store.close();
        await server.kill();
        await server.start();
        store = await session(server.url(database));
      },
      close: () => store.close(),
    };
  }

  it('loses nothing and reorders no key, whatever the step, and when the server is killed too', async () => {
    const one = await world('broker');
    for (const dies of ['before sending', 'before the confirm', 'after the confirm', 'after settling'] as const) {
      const { ended, states } = start({ url: one.url, file: one.file, dies });
      await until(() => states.includes('streaming'), 'the log is read');
      await one.publish(60);
      await ended;
      await one.free();
    }
    await one.restart();
    const last = start({ url: one.url, file: one.file });
    await until(() => last.states.includes('streaming'), 'the log is read');
    await one.publish(30);
    await until(() => new Set(one.sent().map(({ id }) => id)).size >= one.published.length, 'all is sent');
    last.child.kill('SIGTERM');
    await last.ended;
    assert.deepEqual(violations(one.published, one.sent()), []);
    await one.close();
  });

  it('would be seen to lose: a broker that says "stored" and has nothing', async () => {
    const one = await world('liar');
    const liar = start({ url: one.url, file: one.file, dies: 'lying' });
    await until(() => liar.states.includes('streaming'), 'the log is read');
    await one.publish(60);
    await liar.ended;
    await one.free();
    const last = start({ url: one.url, file: one.file });
    await until(() => one.sent().some(({ id }) => id === one.published.at(-1)!.id), 'the last one is sent');
    last.child.kill('SIGTERM');
    await last.ended;
    assert.match(violations(one.published, one.sent()).join(), /^\d+ lost/);
    await one.close();
  });
});

/** Second copies are no violation: receivers know them by id. */
function violations(published: readonly Sent[], sent: readonly Sent[]): string[] {
  const first = [...new Map(sent.map((one) => [one.id, one])).values()];
  const seen = new Set(first.map(({ id }) => id));
  const lost = published.filter(({ id }) => !seen.has(id));
  const reordered = Array.from({ length: keys }, (_, n) => `k${n}`).filter((key) => {
    const ids = first.filter((one) => one.key === key).map(({ id }) => id);
    return ids.some((id, i) => i > 0 && id < ids[i - 1]!);
  });
  return [...(lost.length > 0 ? [`${lost.length} lost`] : []), ...reordered.map((key) => `${key} reordered`)];
}
