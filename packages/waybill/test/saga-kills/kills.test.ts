import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { type Report, check, runSagaKills } from './kills.ts';
import { onFiles } from './place.ts';

describe('a saga over four services whose processes are killed at random', () => {
  let dir: string;
  let report: Report;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'waybill-saga-kills-'));
    report = await runSagaKills({ place: onFiles(dir), seconds: 8 });
  });
  after(() => rm(dir, { recursive: true, force: true }));

  it('every order ends completed, or with everything taken back, in reverse and once', (t) => {
    assert.deepEqual(report.violations, []);
    t.diagnostic(JSON.stringify(report));
    assert.ok(report.kills >= 5, `only ${report.kills} kills`);
    assert.ok(report.orders >= 3, `only ${report.orders} orders`);
  });

  const anyOne = 'where row = (select min(row) from waybill_saga)';
  const planted: readonly (readonly [what: string, service: string, sql: string, expected: RegExp])[] = [
    ['a saga that was lost', 'ordering', `delete from waybill_saga ${anyOne}`, /has no saga \(I1\)/],
    ['a saga that never ended', 'ordering', `update waybill_saga set status = 'undoing' ${anyOne}`, /has not ended \(I15\)/],
    ['a step that took effect twice', 'ordering', `update waybill_saga set state = json_set(state, '$.steps', json('["a","a"]')) ${anyOne}`, /twice \(I3\)/],
    ['a timeout that came early', 'ordering', `update waybill_saga set state = json_set(state, '$.firedMs', 5, '$.setMs', 4) ${anyOne}`, /1499 ms early \(I16\)/],
    ['something that was left', 'stock', 'update work set undone = undone + 1', /not (released|reserved and paid) once/],
  ];
  for (const [what, service, sql, expected] of planted) {
    it(`the check notices ${what}`, async () => {
      const copy = await mkdtemp(join(tmpdir(), 'waybill-saga-planted-'));
      try {
        await cp(dir, copy, { recursive: true });
        const database = new DatabaseSync(join(copy, `${service}.db`), { timeout: 5_000 });
        database.exec(sql);
        database.close();
        assert.match((await check(onFiles(copy))).violations.join('\n'), expected);
      } finally {
        await rm(copy, { recursive: true, force: true });
      }
    });
  }
});
