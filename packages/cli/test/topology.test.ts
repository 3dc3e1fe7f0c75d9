/** `waybill topology` against each broker: what it says before, what it makes, and that it makes nothing where it only looks. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { needs } from '../../../test/support/needs.ts';
import { startStandIn, type StandIn } from '../../waybill/test/azure-service-bus/stand-in/index.ts';
import { rabbitServer, type RabbitServer } from '../../waybill/test/support/rabbitmq-server.ts';
import { app, waybill } from './waybill.ts';

const orders = ['--app', app('orders.ts#make')];

interface Row {
  readonly kind: string;
  readonly name: string;
  readonly subscription: string | null;
  readonly state: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Plan, plan again, apply, plan, apply again: with what each has to say. `stands`: whether anything does, seen without the command. */
async function wholeWay(env: NodeJS.ProcessEnv, { kinds, stands }: { kinds: readonly string[]; stands?: () => boolean }): Promise<void> {
  const told = async (...args: string[]): Promise<{ code: number; rows: Row[]; err: string }> => {
    const { code, out, err } = await waybill(['topology', ...args, ...orders, '-o', 'json'], env);
    return { code, rows: JSON.parse(out) as Row[], err };
  };
  const states = (rows: readonly Row[]): string[] => [...new Set(rows.filter(({ state }) => state !== 'unseen').map(({ state }) => state))];
  for (const words of [[], ['plan'], ['apply', '--dry-run']]) {
    const { code, rows, err } = await told(...words);
    assert.deepEqual([code, states(rows)], [3, ['missing']], err);
    assert.deepEqual([...new Set(rows.map(({ kind }) => kind))].toSorted(), kinds);
    assert.match(err, /missing: waybill topology apply makes them/);
    if (stands) assert.equal(stands(), false, `nothing is made by ${words.join(' ') || 'the default'}`);
  }
  const applied = await told('apply', '--yes');
  assert.deepEqual([applied.code, states(applied.rows)], [0, ['made']], applied.err);
  if (stands) assert.equal(stands(), true);
  for (const words of [['plan'], ['apply', '-y']]) {
    const { code, rows, err } = await told(...words);
    assert.deepEqual([code, states(rows)], [0, ['there']], err);
  }
}

describe('waybill topology', () => {
  it('in a directory: the rows of the service’s own file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'waybill-cli-'));
    try {
      const directory = join(folder, 'ledgers');
      const env = { WAYBILL_TRANSPORT: `sqlite:${directory}`, WAYBILL_STORE: `sqlite:${join(directory, 'orders.db')}` };
      await wholeWay(env, { kinds: ['subscription'], stands: () => existsSync(directory) });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('in memory: nothing, and it says so', async () => {
    const env = { WAYBILL_TRANSPORT: 'memory:' };
    for (const verb of ['plan', 'apply']) {
      const { code, out, err } = await waybill(['topology', verb, ...orders], env);
      assert.deepEqual([code, out], [0, ''], err);
      assert.match(err, /orders has nothing to create: the transport memory keeps nothing outside its process/);
    }
  });

  describe('at Azure Service Bus', () => {
    let standIn: StandIn;
    before(async () => {
      standIn = await startStandIn();
    });
    after(() => standIn.close());

    it('a topic, subscriptions, rules and queues', async () => {
      await wholeWay({ WAYBILL_TRANSPORT: standIn.url }, { kinds: ['queue', 'rule', 'subscription', 'topic'], stands: () => standIn.namespace.topics.size > 0 });
      assert.equal(standIn.namespace.queues.has('waybill/commands/orders/orders.ship.v1'), true);
      assert.equal(standIn.namespace.subscription('waybill/events', 'orders.prices').rules.size, 6, 'three for the events, three for heartbeats');
    });

    it('tells what differs, which it does not mend', async () => {
      const env = { WAYBILL_TRANSPORT: `${standIn.url}&lockMs=60000` };
      for (const words of [['plan'], ['apply', '--yes']]) {
        const { code, err } = await waybill(['topology', ...words, ...orders], env);
        assert.equal(code, 3, err);
        assert.match(err, /the queue waybill\/commands\/orders\/orders\.ship\.v1 differs: lockDuration is PT30S/);
        assert.match(err, /3 of 10 made with other settings: change or remove these by hand/);
      }
    });

    it('is refused with 5 where these credentials may not create, and sees then what it can', async () => {
      const empty = await startStandIn();
      try {
        empty.deny(true);
        const plan = await waybill(['topology', 'plan', ...orders], { WAYBILL_TRANSPORT: empty.url });
        assert.equal(plan.code, 3, plan.err);
        assert.match(plan.err, /unseen: rules are not seen over AMQP \(the administration refuses/);
        const { code, err } = await waybill(['topology', 'apply', '-y', ...orders], { WAYBILL_TRANSPORT: empty.url });
        assert.equal(code, 5, err);
        assert.match(err, /^waybill: TOPOLOGY_MISSING: the topic waybill\/events is not there/m);
      } finally {
        await empty.close();
      }
    });
  });

  const { skip } = needs('rabbitmq');
  describe('at RabbitMQ', { skip }, () => {
    let server: RabbitServer;
    before(async () => {
      server = await rabbitServer([]);
    });
    after(() => server?.close());

    it('exchanges, queues, and their bindings, which are not seen', async () => {
      await wholeWay({ WAYBILL_TRANSPORT: server.url }, { kinds: ['bindings', 'exchange', 'queue'] });
    });

    it('is refused with 5 as a user who has no right to it', async () => {
      const { code, err } = await waybill(['topology', 'plan', ...orders], { WAYBILL_TRANSPORT: server.urlOf({ user: 'nobody', password: 'hunter2' }) });
      assert.equal(code, 5, err);
      assert.match(err, /TRANSPORT_DENIED/);
      assert.doesNotMatch(err, /hunter2/);
    });
  });

  it('with the broker away tells what the service needs, and ends with 4; with --offline nobody is asked', async () => {
    const env = { WAYBILL_TRANSPORT: 'amqp://app:hunter2@127.0.0.1:1/' };
    for (const [args, code, word] of [[['plan'], 4, /could not be seen: TRANSPORT_UNREACHABLE/], [['plan', '--offline'], 0, /was not asked/]] as const) {
      const ended = await waybill(['topology', ...args, ...orders, '-o', 'jsonl'], env);
      assert.equal(ended.code, code, ended.err);
      assert.match(ended.err, word);
      const rows = ended.out.trim().split('\n').map((line) => JSON.parse(line) as Row);
      assert.ok(rows.some(({ kind, name, state }) => kind === 'exchange' && name === 'waybill' && state === 'wanted'));
      assert.doesNotMatch(ended.out + ended.err, /hunter2/);
    }
    assert.equal((await waybill(['topology', 'apply', '-y', ...orders], env)).code, 4);
  });
});
