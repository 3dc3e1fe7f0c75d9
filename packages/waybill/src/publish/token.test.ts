import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from '../contract/errors.ts';
import { readToken, writeToken } from './token.ts';

const content = { source: 'catalog', id: 'id-1', types: ['catalog.price.v2', 'catalog.price.v1'], timeMs: 1_893_456_000_000 };

describe('a token', () => {
  it('gives back what it stands for, and fits into cookies, headers and addresses', () => {
    for (const id of ['a', '€'.repeat(200), '"', '\\', '../', 'a b', '🚚', '__proto__']) {
      const token = writeToken({ ...content, id });
      assert.match(token, /^[A-Za-z0-9_-]+$/);
      assert.deepEqual(readToken(token), { ...content, id });
    }
  });

  it('is read with every limit reached', () => {
    const types = Array.from({ length: 33 }, (_, i) => `${'t'.repeat(150)}.v${i}`);
    const token = writeToken({ ...content, id: '€'.repeat(200), types });
    assert.deepEqual(readToken(token).types, types);
  });

  it('that was forged, cut or made by something else is refused in no time', () => {
    const encoded = (value: unknown): string => `1${Buffer.from(JSON.stringify(value)).toString('base64url')}`;
    const good = writeToken(content);
    const bad: unknown[] = [
      undefined, null, 7, {}, [], '', '1', '2', good.slice(1), good.slice(0, -3), `2${good.slice(1)}`, `${good}${good}`, '1@@@@', 'x'.repeat(1_000_000), `1${'A'.repeat(9_999)}`,
      encoded(null), encoded({}), encoded([]), encoded(['s', 'i', 't', 1]), encoded(['s', 'i', [7], 1]), encoded(['s', 7, ['t'], 1]), encoded(['s', 'i', ['t'], 'now']), encoded({ length: 4, 0: 's' }),
    ]; // prettier-ignore
    for (const token of bad) {
      assert.throws(() => readToken(token), (error) => WaybillError.is(error, 'INVALID_TOKEN'), String(token).slice(0, 50));
    }
  });
});
