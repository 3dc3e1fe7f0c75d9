/** How the command is used, and how it says that it was used wrongly. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { app, inShell, waybill } from './waybill.ts';

const offline = ['topology', 'plan', '--offline'];
const env = { WAYBILL_TRANSPORT: 'amqp://localhost' };

describe('waybill', () => {
  for (const name of ['orders.ts#make', 'orders.ts#madeLater', 'orders.ts']) {
    it(`finds the bus of ${name}`, async () => {
      const { code, out, err } = await waybill([...offline, '--app', app(name), '-o', 'jsonl'], env);
      assert.equal(code, 0, err);
      assert.ok(out.split('\n').filter(Boolean).every((line) => (JSON.parse(line) as { name: string }).name.startsWith('waybill')));
    });
  }

  it('in a shell keeps what the module prints out of the data, and does not wait for what it left open', async () => {
    const { code, out, err } = await inShell([...offline, '--app', app('by-default.ts'), '-o', 'json'], env);
    assert.equal(code, 0, err);
    assert.ok((JSON.parse(out) as unknown[]).length > 5);
    assert.match(err, /^the module of the service says something$/m);
  });

  it('in a shell ends with its exit code', async () => {
    const { code, out, err } = await inShell(['topolgy']);
    assert.deepEqual([code, out], [2, ''], err);
  });

  for (const [why, args, said] of [
    ['no command', [], /Usage: waybill/],
    ['a command that is not there', ['topolgy'], /unknown command 'topolgy'\n\(Did you mean topology\?\)/],
    ['a flag that is not there', [...offline, '--ap', 'x'], /unknown option '--ap'/],
    ['a format that is not there', [...offline, '-o', 'xml'], /Allowed choices are table, json, jsonl, yaml/],
    ['no module', offline, /name the module that exports the bus: --app \.\/src\/bus\.ts, or WAYBILL_APP/],
    ['a module that is not there', [...offline, '--app', app('gone.ts')], /gone\.ts: there is no such file/],
    ['an export that is no bus', [...offline, '--app', app('orders.ts#nothing')], /exports no bus as nothing/],
    ['an export that is not there', [...offline, '--app', app('orders.ts#gone')], /exports no bus as gone/],
    ['apply without --yes where nobody can be asked', ['topology', 'apply', '--app', app('orders.ts#make')], /say --yes where nobody can be asked/],
  ] as const) {
    it(`ends with 2, and no data, on ${why}`, async () => {
      // In a directory: what is asked before anybody is asked for consent is answered.
      const { code, out, err } = await waybill(args, why.startsWith('apply') ? { WAYBILL_TRANSPORT: 'sqlite:no-such-directory' } : env);
      assert.deepEqual([code, out], [2, ''], err);
      assert.match(err, said);
    });
  }

  it('ends with 2 on a transport that no driver knows, and with 1 when the module fails; secrets are left out', async () => {
    const unknown = await waybill([...offline, '--app', app('orders.ts#make')], { WAYBILL_TRANSPORT: 'pigeon://app:hunter2@loft' });
    assert.equal(unknown.code, 2, unknown.err);
    assert.match(unknown.err, /INVALID_URL/);
    const failed = await waybill([...offline, '--app', app('orders.ts#fails')], env);
    assert.equal(failed.code, 1, failed.err);
    assert.match(failed.err, /postgres:\/\/app:\*\*\*@db\/orders.*SharedAccessKey=\*\*\*;More=1/);
    for (const { out, err } of [unknown, failed]) assert.doesNotMatch(out + err, /hunter2/);
  });

  it('takes each flag from the environment too, and a flag before that; 0 is no', async () => {
    const all = { ...env, WAYBILL_APP: app('orders.ts#make'), WAYBILL_OUTPUT: 'yaml', WAYBILL_OFFLINE: '1' };
    const yaml = await waybill(['topology'], all);
    assert.equal(yaml.code, 0, yaml.err);
    assert.ok(yaml.out.startsWith('- "kind": "exchange"\n  "name": "waybill"\n  "subscription": null\n'), yaml.out);
    const json = await waybill(['topology', '-o', 'json'], all);
    assert.equal((JSON.parse(json.out) as unknown[]).length, (yaml.out.match(/^- /gm) ?? []).length);
    const away = await waybill(['topology'], { ...all, WAYBILL_TRANSPORT: 'amqp://127.0.0.1:1', WAYBILL_OFFLINE: '0' });
    assert.equal(away.code, 4, away.err);
    const no = await waybill(['topology', 'apply'], { ...all, WAYBILL_TRANSPORT: 'sqlite:no-such-directory', WAYBILL_YES: 'false' });
    assert.equal(no.code, 2, no.err);
  });

  it('asks a person before it makes anything, and takes no for an answer', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'waybill-cli-'));
    try {
      const variables = { WAYBILL_TRANSPORT: `sqlite:${join(folder, 'ledgers')}`, WAYBILL_STORE: `sqlite:${join(folder, 'ledgers/orders.db')}` };
      const args = ['topology', 'apply', '--app', app('orders.ts#make')];
      const no = await waybill(args, variables, 'n');
      assert.equal(no.code, 2);
      assert.match(no.err, /Create what is missing at sqlite \(2 of 2\)\? \[y\/N\] .*nothing was created/s);
      assert.equal(existsSync(join(folder, 'ledgers')), false);
      const yes = await waybill(args, variables, 'y');
      assert.equal(yes.code, 0, yes.err);
      assert.match(yes.out, /^made +subscription +orders\.prices/m);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('says its version and helps on stdout', async () => {
    const version = await waybill(['--version']);
    assert.deepEqual([version.code, version.out], [0, '0.1.0\n']);
    const help = await waybill(['topology', 'apply', '--help']);
    assert.equal(help.code, 0);
    for (const word of ['WAYBILL_APP', 'WAYBILL_OUTPUT', 'WAYBILL_YES', 'WAYBILL_DRY_RUN']) assert.ok(help.out.includes(word), word);
  });
});
