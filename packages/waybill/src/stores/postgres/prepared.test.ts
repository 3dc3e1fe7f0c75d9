import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DirectClient } from './direct.ts';
import { prepared } from './prepared.ts';

function statements(answer: () => Promise<{ rows: object[] }>) {
  const told: string[] = [];
  const client = {
    query: ({ name, text, values }: { name: string; text: string; values: unknown[] }) => {
      told.push(`${name} ${text} ${values.join()}`);
      return answer();
    },
    ref: () => told.push('ref'),
    unref: () => told.push('unref'),
  } as unknown as DirectClient;
  return { told, sql: prepared(client, () => told.push('unfit')) };
}

describe('named statements', () => {
  it('have a name for each text, values as text, and keep the process alive while one runs', async () => {
    const { told, sql } = statements(async () => ({ rows: [] }));
    await Promise.all([sql.query('a', [1, null]), sql.query('b')]);
    await sql.query('a', ['2']);
    assert.deepEqual(told, ['ref', 'waybill_0 a 1,', 'waybill_1 b ', 'unref', 'ref', 'waybill_0 a 2', 'unref']);
  });

  for (const [code, unfit] of [['26000', true], ['42P05', true], ['57014', false]] as const) {
    it(`are ${unfit ? '' : 'not '}given up after ${code}`, async () => {
      const { told, sql } = statements(() => Promise.reject(Object.assign(new Error('no'), { code })));
      await assert.rejects(sql.query('a'));
      assert.equal(told.includes('unfit'), unfit);
      assert.equal(told.at(-1), 'unref');
    });
  }
});
