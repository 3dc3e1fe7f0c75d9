import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { type KillReport, check, runKills } from './kills.ts';

describe('processes on one directory, killed at random', () => {
  let dir: string;
  let report: KillReport;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'waybill-kills-'));
    report = await runKills({ dir, seconds: 15 });
  });
  after(() => rm(dir, { recursive: true, force: true }));

  it('every committed event is applied exactly once by every subscription, in order, and none is invented', () => {
    assert.deepEqual(report.violations, []);
    assert.ok(report.kills >= 10, `only ${report.kills} kills`);
    assert.ok(report.published > 100, `only ${report.published} messages`);
    assert.ok(report.effects >= report.published * 6);
  });

  it('nothing unexpected was reported by any process', () => {
    assert.deepEqual([...report.errors.keys()].filter((line) => !line.includes('now and then')), []);
  });

  const planted: [string, string, RegExp][] = [
    ['a doubled effect', 'insert into ordered (id, source, key, n) select id, source, key, n from ordered limit 1', /doubled \(I3\)/],
    ['a lost effect', 'delete from own where at = (select max(at) from own)', /lost \(I1\)/],
    ['an invented effect', "insert into manual (id, source, key, n) values ('x', 'alpha', 'k', 1)", /invented \(I2\)/],
    ['two effects of a key out of order', 'update ordered set n = n + 5 where at = 1', /out of order \(I5\)/],
    ['a version that went back', 'update latest set n = 100000 where at = 1', /went back \(I6\)/],
  ];
  for (const [what, sql, expected] of planted) {
    it(`the checker notices ${what}`, async () => {
      const copy = await mkdtemp(join(tmpdir(), 'waybill-kills-planted-'));
      try {
        await cp(dir, copy, { recursive: true });
        const database = new DatabaseSync(join(copy, 'gamma.db'), { timeout: 5_000 });
        database.exec(sql);
        database.close();
        const { violations } = check(copy);
        assert.match(violations.join('\n'), expected);
      } finally {
        await rm(copy, { recursive: true, force: true });
      }
    });
  }
});
