import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { needs } from '../../../../../test/support/needs.ts';
import { faultProxy, type FaultProxy } from '../../support/fault-proxy.ts';
import { type PostgresServer, startPostgres } from '../../support/postgres-server.ts';
import { rabbitServer, type RabbitServer } from '../../support/rabbitmq-server.ts';
import { check, type FaultReport, type Ground, prepare, runFaults } from './faults.ts';

const [rabbitmq, postgresql] = [needs('rabbitmq'), needs('postgres')];

describe('processes on PostgreSQL and RabbitMQ, with everything going wrong', { skip: rabbitmq.skip || postgresql.skip }, () => {
  let ground: Ground;
  let report: FaultReport;
  let [rabbit, postgres, proxy]: [RabbitServer?, PostgresServer?, FaultProxy?] = [];

  before(async () => {
    [rabbit, postgres] = await Promise.all([rabbitServer(), startPostgres({ bin: dirname(postgresql.path!) })]);
    proxy = await faultProxy(rabbit.port);
    ground = { rabbit, proxy, postgres, databases: { count: await postgres.createDatabase(), sum: await postgres.createDatabase() } };
    await prepare(ground);
    report = await runFaults(ground, { seconds: 6, brokerKills: 1 });
  });
  after(async () => {
    await proxy?.close();
    await Promise.all([rabbit?.close(), postgres?.close()]);
  });

  it('every committed event is applied exactly once by every subscription, in order, and none is invented', () => {
    assert.deepEqual(report.violations, [], JSON.stringify([report.faults, ...report.errors]));
    assert.ok(report.published > 200, `only ${report.published} messages`);
    assert.equal(report.effects, report.published * 2);
    assert.equal(report.faults['broker killed'], 1);
  });

  for (const [what, sql, expected] of [
    ['a doubled effect', 'insert into ordered (id, key, n) select id, key, n from ordered limit 1', /doubled \(I3\)/],
    ['a lost effect', 'delete from any_order where at = (select max(at) from any_order)', /lost \(I1\)/],
    ['an invented effect', "insert into ordered (id, key, n) values ('x', 'nobody', 1)", /invented \(I2\)/],
    ['two effects of a key out of order', 'update ordered set at = -at where at = (select max(at) from ordered)', /out of order \(I5\)/],
  ] as const) {
    it(`the checker notices ${what}`, async () => {
      const copy = await ground.postgres.createDatabase(ground.databases.sum);
      await ground.postgres.query(sql, [], copy);
      const { violations } = await check({ ...ground, databases: { ...ground.databases, sum: copy } });
      assert.match(violations.join('\n'), expected);
    });
  }
});
