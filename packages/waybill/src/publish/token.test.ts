import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from '../contract/errors.ts';
import { readToken, writeToken } from './token.ts';

const content = { source: 'catalog', id: 'id-1', types: ['catalog.price.v2', 'catalog.price.v1'], timeMs: 1_893_456_000_000 };

describe('a token', () => {
  it('gives back what it stands for, and fits into cookies, headers and addresses', () => {
    for (const id of ['a', 'A_b.c-d', '0190163d-8694-7000-8000-0123456789ab', '~', 'a~b', '%41', '€'.repeat(200), '"', '\\', '../', 'a b', '🚚', '__proto__']) {
      const token = writeToken({ ...content, id });
      assert.match(token, /^[A-Za-z0-9._~-]+$/);
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
    const odd = writeToken({ ...content, id: 'odd ~' });
    assert.deepEqual([good[0], odd[0]], ['2', '1']);
    const bad: unknown[] = [
      undefined, null, 7, {}, [], '', '1', '2', good.slice(1), odd.slice(1), `1${good.slice(1)}`, `2${odd.slice(1)}`, `${good}${good}`, `${odd}${odd}`, '1@@@@', 'x'.repeat(1_000_000), `1${'A'.repeat(9_999)}`,
      encoded(null), encoded({}), encoded([]), encoded(['s', 'i', 't', 1]), encoded(['s', 'i', [7], 1]), encoded(['s', 7, ['t'], 1]), encoded(['s', 'i', ['t'], 'now']), encoded({ length: 4, 0: 's' }),
      '2~1~s~i~~', '2~1~s~i~t~~', '2~x~s~i~t.v1~~', '2~1~s~~t.v1~~', '2~1~s~i~t.v1~', '2~1~s~i~t.v1~~~', `2~1~s~i~${'t.v1~'.repeat(10_000)}~`, `2~1~s~i~${'t'.repeat(9_000)}`,
    ]; // prettier-ignore
    for (let end = 0; end < good.length; end++) bad.push(good.slice(0, end));
    for (let end = 0; end < odd.length; end++) bad.push(odd.slice(0, end));
    for (const token of bad) {
      assert.throws(() => readToken(token), (error) => WaybillError.is(error, 'INVALID_TOKEN'), String(token).slice(0, 50));
    }
  });
});
