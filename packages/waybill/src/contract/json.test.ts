import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from './errors.ts';
import { checkNesting, readJson, writeJson } from './json.ts';

const isCode = (code: string) => (error: unknown) => WaybillError.is(error, code as never) || assert.fail(String(error));
const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);

describe('writeJson', () => {
  it('writes what JSON can say', () => {
    assert.equal(writeJson({ a: [1, null, 'x'], b: undefined }, 'x'), '{"a":[1,null,"x"]}');
    assert.equal(writeJson(null, 'x'), 'null');
    assert.equal(writeJson('', 'x'), '""');
  });

  it('refuses one byte past the limit, and takes the limit', () => {
    const limit = 1024 * 1024;
    assert.equal(writeJson('x'.repeat(limit - 2), 'x').length, limit);
    assert.throws(() => writeJson('x'.repeat(limit - 1), 'x'), isCode('MESSAGE_TOO_LARGE'));
    assert.throws(() => writeJson('é'.repeat(limit / 2), 'x'), isCode('MESSAGE_TOO_LARGE'));
  });

  it('refuses the 65th level, and takes the 64th', () => {
    const deep = (levels: number): unknown => JSON.parse(nested(levels));
    assert.equal(writeJson(deep(64), 'x'), nested(64));
    assert.throws(() => writeJson(deep(65), 'x'), isCode('MESSAGE_TOO_LARGE'));
  });
});

describe('readJson', () => {
  it('reads back what writeJson wrote, for hostile texts and names too', () => {
    const hostile = ['', '"', '\\', '\\u0000', '\u0000', '\u2028', '</script>', '[[[[', '{"a":', 'proto', '__proto', 'constructor', '🚚', '\ud83d\ude9a', 'é'.normalize('NFD')];
    for (const [i, text] of hostile.entries()) {
      // Names of their own: V8 13.6 takes the name "k\u0000" for "k\\" when an object with that one was read before.
      const data = { text, [`${i}${text}`]: [text] };
      assert.deepEqual(readJson(writeJson(data, 'x'), 'x'), data);
    }
  });

  it('counts brackets outside of texts only', () => {
    assert.deepEqual(readJson(JSON.stringify('['.repeat(1_000)), 'x'), '['.repeat(1_000));
    assert.deepEqual(readJson(JSON.stringify({ '[[\\"[[': '{"{{' }), 'x'), { '[[\\"[[': '{"{{' });
    checkNesting(`${'[],'.repeat(1_000)}`, 'x');
    assert.throws(() => checkNesting(`"\\\\"${nested(65)}`, 'x'), isCode('MESSAGE_TOO_LARGE'));
  });

  it('ends on texts that never close, whatever stands in them', () => {
    for (const text of ['"', '"\\', '{"a', '[', '"\\u', ']'.repeat(100), '}'.repeat(100)]) {
      assert.throws(() => readJson(text, 'x'), isCode('MESSAGE_UNDECODABLE'));
    }
  });

  it('refuses keys that reach into prototypes, in any spelling and depth', () => {
    for (const text of [
      '{"__proto__":1}',
      '[{"a":{"__proto__":{}}}]',
      '{"\\u005f_proto__":1}',
      '{"_\\u005Fproto__":1}',
      '{"\\u005f\\u005fproto\\u005f\\u005f":1}',
      '{"__prot\\u006f__":1}',
      '{"constructor":{"prototype":{}}}',
      '{"con\\u0073tructor":{"prototype":{}}}',
      '{"constructor":{"protot\\u0079pe":{}}}',
    ]) {
      assert.throws(() => readJson(text, 'x'), isCode('MESSAGE_UNDECODABLE'), text);
      assert.throws(() => readJson(text, 'x', 'CONTRACT_VIOLATION'), isCode('CONTRACT_VIOLATION'), text);
    }
  });

  it('takes words that only look like those', () => {
    for (const text of ['{"constructor":"Ferrari"}', '{"proto":1}', '{"__proto":1}', '{"prototype":1}', '["__proto__"]', '{"a":"__proto__"}', '{"constructor":{"name":"x"}}']) {
      assert.deepEqual(readJson(text, 'x'), JSON.parse(text));
    }
  });
});
