import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sqlOf, type Run } from './statements.ts';

describe('statements of any library', () => {
  const seen: unknown[] = [];
  const answering = (...rows: object[]): Run => ({
    async rows(_text, values) {
      seen.push(...values);
      return rows;
    },
    async count(_text, values) {
      seen.push(...values);
      return rows.length;
    },
  });

  it('send text and null, whatever they are given', async () => {
    seen.length = 0;
    await sqlOf(answering()).query('', ['a', 1, null]);
    await sqlOf(answering()).execute('', [-0.5]);
    assert.deepEqual(seen, ['a', '1', null, '-0.5']);
  });

  it('answer text and null, also where a library reads numbers', async () => {
    assert.deepEqual(await sqlOf(answering({ a: 'x', b: 1, c: 2n, d: false, e: null })).query(''), [{ a: 'x', b: '1', c: '2', d: 'false', e: null }]);
  });

  it('refuse a column that was not cast: each library would read it in its own way', async () => {
    for (const value of [new Date(0), Buffer.from('x'), { json: true }, [1], undefined]) {
      await assert.rejects(sqlOf(answering({ found: value })).query(''), /column "found" is no text/);
    }
  });

  it('undo what a library did to the names of columns', async () => {
    const rows = await sqlOf(answering({ Position: '1' }, { POSITION: '2' }, { position_: '3' }), true).query('');
    assert.deepEqual(rows, [{ position: '1' }, { position: '2' }, { position: '3' }]);
  });
});
