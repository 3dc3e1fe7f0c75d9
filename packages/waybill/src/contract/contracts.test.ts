import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type * as contracts from './contracts.ts';
import { checkServiceName, defineCommand, defineEvent, definitionOf, definitionOfDraft } from './contracts.ts';
import { WaybillError } from './errors.ts';
import type { StandardSchema } from './schema.ts';

const anything: StandardSchema<any, any> = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } };
const isCode = (code: string) => (error: unknown) => WaybillError.is(error, code as never) || assert.fail(String(error));

describe('a contract', () => {
  it('has the type of its name and version, and a command its service', () => {
    const event = defineEvent('catalog.price-changed', { schema: anything });
    assert.deepEqual([event.kind, event.name, event.version, event.type], ['event', 'catalog.price-changed', 1, 'catalog.price-changed.v1']);
    assert.equal(defineEvent('catalog.price-changed', { schema: anything, version: 3 }).type, 'catalog.price-changed.v3');
    assert.equal(defineCommand('ordering.create-order', { schema: anything }).to, 'ordering');
    assert.equal(defineCommand('ordering.create-order', { schema: anything, to: 'sales' }).to, 'sales');
    assert.equal('to' in event, false);
  });

  it('cannot be changed', () => {
    const event = defineEvent('a.b', { schema: anything });
    assert.throws(() => Object.assign(event, { type: 'forged' }), TypeError);
    assert.throws(() => Object.assign(definitionOf(event), { schema: undefined }), TypeError);
    assert.throws(() => Object.assign(event.of({}), { data: 'forged' }), TypeError);
  });

  it('of another copy of the package is understood', async () => {
    const other = (await import('./contracts.ts?copy=2' as string)) as typeof contracts;
    const theirs = other.defineEvent('a.b', { schema: anything });
    assert.equal(definitionOf(theirs).type, 'a.b.v1');
    assert.equal(definitionOfDraft(theirs.of({})).type, 'a.b.v1');
  });

  it('is told from anything else', () => {
    for (const value of [undefined, null, 7, 'a.b.v1', {}, { kind: 'event', type: 'a.b.v1' }, () => {}]) {
      assert.throws(() => definitionOf(value), isCode('INVALID_CONTRACT'));
      assert.throws(() => definitionOfDraft(value), isCode('INVALID_CONTRACT'));
    }
    assert.throws(() => definitionOfDraft(defineEvent('a.b', { schema: anything })), isCode('INVALID_CONTRACT'));
  });

  it('takes names of words with dots and dashes, and no others', () => {
    for (const name of ['a', 'a.b', 'a-b.c-d', 'a1.2b', 'a'.repeat(150)]) defineEvent(name, { schema: anything });
    for (const name of ['', '.', '-', 'a.', '.a', 'a..b', 'a--b', 'A', 'a_b', 'a b', 'a\n', '1a', 'ä', 'a/b', 'a'.repeat(151), '__proto__', 'constructor.__proto__']) {
      assert.throws(() => defineEvent(name, { schema: anything }), isCode('INVALID_CONTRACT'), name);
    }
  });
});

describe('checkServiceName', () => {
  it('takes 1 to 63 lower-case letters, digits and dashes, a letter first', () => {
    for (const name of ['a', 'basket', 'basket-2', 'a'.repeat(63)]) checkServiceName(name);
    for (const name of ['', '-a', '2a', 'A', 'a.b', 'a b', 'a\n', 'ä', 'a'.repeat(64), 7, null, undefined, {}, ['a']]) {
      assert.throws(() => checkServiceName(name), isCode('INVALID_OPTION'));
    }
  });
});
