import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WaybillError } from './contract/errors.ts';
import { defaultDirectory, loadStore, loadTransport } from './drivers.ts';

const isCode = (code: string) => (error: unknown) => WaybillError.is(error, code as never) || assert.fail(String(error));
const service = 'basket';

describe('loadStore and loadTransport', () => {
  it('take what a factory made as it is', async () => {
    const store = await loadStore({ service, store: 'memory:' }, {});
    assert.equal(await loadStore({ service, store }, { WAYBILL_STORE: 'postgres://x' }), store);
  });

  it('prefer the option, then the environment, then the embedded default', async () => {
    assert.equal((await loadStore({ service, store: 'memory:' }, { WAYBILL_STORE: 'sqlite:x.db' })).kind, 'memory');
    assert.equal((await loadStore({ service }, { WAYBILL_STORE: 'memory:' })).kind, 'memory');
    assert.equal((await loadStore({ service }, {})).kind, 'sqlite');
    assert.equal((await loadTransport({ service, transport: 'memory:' }, { WAYBILL_TRANSPORT: 'sqlite:x' })).kind, 'memory');
    assert.equal((await loadTransport({ service }, { WAYBILL_TRANSPORT: 'memory:' })).kind, 'memory');
    assert.equal((await loadTransport({ service }, {})).kind, 'sqlite');
  });

  it('read SQLite URLs in every usual spelling', async () => {
    for (const url of ['sqlite:a.db', 'sqlite:./a.db', 'sqlite:/tmp/a.db', 'sqlite:///tmp/a.db', 'SQLITE:a.db', 'sqlite::memory:', 'sqlite:a b.db', 'sqlite:ä.db']) {
      assert.equal((await loadStore({ service, store: url }, {})).kind, 'sqlite', url);
    }
  });

  it('know Azure Service Bus by URL and by connection string', async () => {
    for (const transport of ['sb://Name:key@shop.servicebus.windows.net', 'Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=Name;SharedAccessKey=key']) {
      assert.equal((await loadTransport({ service, transport }, {})).kind, 'azure-service-bus');
    }
    await assert.rejects(loadTransport({ service, transport: 'sb://secret@shop.servicebus.windows.net' }, {}), (error) => {
      assert.doesNotMatch(String(error), /secret/);
      return isCode('INVALID_URL')(error);
    });
  });

  it('refuse URLs that no driver reads, and repeat nothing after the scheme', async () => {
    for (const url of ['', ' ', 'a.db', '/tmp/a.db', ':memory:', '://x', '1x:y', 'post gres://x', 'oracle://user:secret@host', 'mysql://u:secret@h', 'sqlite:', 'sqlite://host/a', 'sqlite:a\0b', 'file:///a.db', 'memory']) {
      for (const load of [() => loadStore({ service, store: url }, { NODE_ENV: 'production' }), () => loadTransport({ service, transport: url }, { NODE_ENV: 'production' })]) {
        await assert.rejects(load, (error) => {
          assert.ok(WaybillError.is(error, 'INVALID_URL') || (url === '' && WaybillError.is(error, 'NOT_CONFIGURED')), `${url}: ${String(error)}`);
          assert.doesNotMatch(String(error), /secret/);
          return true;
        });
      }
    }
  });

  it('take an AMQP URL for RabbitMQ, without connecting, and repeat nothing of one that is wrong', async () => {
    for (const transport of ['amqp://user:secret@host/vhost', 'amqps://host']) {
      assert.equal((await loadTransport({ service, transport }, {})).kind, 'rabbitmq');
    }
    await assert.rejects(loadTransport({ service, transport: 'amqp://user:secret@ho st' }, {}), (error) => {
      assert.ok(WaybillError.is(error, 'INVALID_URL'));
      assert.doesNotMatch(String(error), /secret/);
      return true;
    });
  });

  it('refuse the embedded default in production, but not when it is asked for', async () => {
    const env = { NODE_ENV: 'production' };
    await assert.rejects(loadStore({ service }, env), isCode('NOT_CONFIGURED'));
    await assert.rejects(loadTransport({ service }, env), isCode('NOT_CONFIGURED'));
    assert.equal((await loadStore({ service, store: 'sqlite:.waybill/basket.db' }, env)).kind, 'sqlite');
    assert.equal((await loadTransport({ service, transport: 'sqlite:.waybill' }, env)).kind, 'sqlite');
    assert.equal((await loadStore({ service }, { NODE_ENV: 'test' })).kind, 'sqlite');
  });
});

describe('the default directory', () => {
  let root: string;
  before(async () => {
    root = await realpath(await mkdtemp(path.join(tmpdir(), 'waybill-')));
  });
  after(() => rm(root, { recursive: true }));
  const folder = async (name: string, files: Record<string, string> = {}): Promise<string> => {
    const at = path.join(root, name);
    await mkdir(at, { recursive: true });
    for (const [file, text] of Object.entries(files)) await writeFile(path.join(at, file), text);
    return at;
  };

  /** Somebody may have one above the temporary folder: then that is the nearest. */
  const expected = (name: string): string => {
    const above = defaultDirectory(root);
    return existsSync(above) ? above : path.join(root, name);
  };

  it('is the nearest one upwards', async () => {
    await folder('near/.waybill');
    const deep = await folder('near/a/b', { 'package.json': '{"workspaces":["x"]}' });
    assert.equal(defaultDirectory(deep), path.join(root, 'near/.waybill'));
  });

  it('is beside the package.json of the workspace root, so that two services meet', async () => {
    await folder('repo', { 'package.json': '{"workspaces":["services/*"]}' });
    const one = await folder('repo/services/one', { 'package.json': '{}' });
    const two = await folder('repo/services/two/src', { 'package.json': '{}' });
    assert.equal(defaultDirectory(one), expected('repo/.waybill'));
    assert.equal(defaultDirectory(two), expected('repo/.waybill'));
  });

  it('knows a pnpm workspace', async () => {
    await folder('pnpm', { 'package.json': '{}', 'pnpm-workspace.yaml': 'packages: []' });
    assert.equal(defaultDirectory(await folder('pnpm/services/one', { 'package.json': '{}' })), expected('pnpm/.waybill'));
  });

  it('is beside the nearest package.json where there is no workspace, also a broken one', async () => {
    await folder('single', { 'package.json': 'no json' });
    const above = defaultDirectory(root); // somebody's workspace, if the temporary folder lies in one
    const alone = path.join(root, 'single/.waybill');
    assert.equal(defaultDirectory(await folder('single/src/deep')), above.startsWith(root) ? alone : above);
  });
});
