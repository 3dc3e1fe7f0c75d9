import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { ServiceState } from './messages.ts';
import { ServiceProcess } from './service-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'shop-process-'));
after(() => rmSync(scratch, { recursive: true }));

const READY = `process.send({ say: 'ready', url: 'http://127.0.0.1:4711', token: 't1' });`;
const LEAVES = `process.on('message', ({ say }) => say === 'stop' && process.exit(0));`;

describe('a watched process', () => {
  it('runs, stops when asked, and runs again', async () => {
    const { service } = watched(`${LEAVES} ${READY}`);
    await service.start();
    assert.equal(service.state.state, 'running');
    assert.equal(service.state.url, 'http://127.0.0.1:4711');
    assert.equal(service.token, 't1');
    const { pid } = service.state;
    await service.stop();
    assert.deepEqual([service.state.state, service.state.pid, service.state.url], ['stopped', undefined, undefined]);
    await service.start();
    assert.notEqual(service.state.pid, pid);
    await service.stop();
  });

  it('stays down when it was killed on purpose', async () => {
    const { service } = watched(`${LEAVES} ${READY}`);
    await service.start();
    await service.kill();
    assert.deepEqual([service.state.state, service.state.restarts], ['stopped', 0]);
  });

  it('is started again when it dies by itself', async () => {
    const { service, until } = watched(`${LEAVES} ${READY}`);
    await service.start();
    const { pid } = service.state;
    process.kill(pid!, 'SIGKILL');
    await until((state) => state.state === 'running' && state.pid !== pid);
    assert.equal(service.state.restarts, 1);
    await service.stop();
  });

  it('is given up when it dies again and again, and says what it printed last', async () => {
    const { service, until } = watched(`console.error('the disk is made of cheese'); process.exit(3);`);
    await assert.rejects(service.start(), /failed/);
    await until((state) => state.state === 'failed');
    assert.equal(service.state.restarts, 7);
    assert.match(service.lastLines, /made of cheese\ndied unasked \(exit code 3\)/);
  });

  it('can be stopped while it waits to be started again', async () => {
    const { service, until } = watched(`process.exit(3);`);
    const started = assert.rejects(service.start(), /stopped/);
    await until((state) => state.state === 'waiting');
    await service.stop();
    await started;
    assert.equal(service.state.state, 'stopped');
  });

  it('does nothing when it is stopped or killed twice', async () => {
    const { service } = watched(`${LEAVES} ${READY}`);
    await service.start();
    await Promise.all([service.stop(), service.stop()]);
    await service.kill();
    assert.equal(service.state.state, 'stopped');
  });
});

let programs = 0;

/** A service whose program is `source`, and a way to wait for what becomes of it. */
function watched(source: string): { service: ServiceProcess; until(wanted: (state: ServiceState) => boolean): Promise<void> } {
  const file = join(scratch, `program-${programs++}.mjs`);
  writeFileSync(file, source);
  const watchers = new Set<() => void>();
  const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
  const service: ServiceProcess = new ServiceProcess(
    { name: 'basket', file, env: () => env, backOffMs: 10 },
    { changed: () => watchers.forEach((look) => look()), said: () => undefined, printed: () => undefined },
  );
  return {
    service,
    until: (wanted) =>
      new Promise((resolve) => {
        const look = (): void => void (wanted(service.state) && resolve());
        watchers.add(look);
        look();
      }),
  };
}
