import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type ContractDefinition, defineCommand, defineEvent, definitionOf } from '../contract/contracts.ts';
import type { StandardSchema } from '../contract/schema.ts';
import { createSignals } from '../observe/signals.ts';
import { virtualClock } from '../testing/clock.ts';
import { createUnreadWatch } from './unread.ts';

const schema: StandardSchema<any, any> = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } };
const V1 = defineEvent('shop.price', { schema });
const V2 = defineEvent('shop.price', { schema, version: 2, previous: V1 });
const V3 = defineEvent('shop.price', { schema, version: 3, previous: V2 });
const cast = defineEvent('shop.price', { schema, version: 2, previous: V1, downcast: (x) => x });

const watch = (taken: Record<string, boolean>) => {
  const clock = virtualClock();
  const signals = createSignals();
  const heard: unknown[] = [];
  signals.on('version-unread', (detail) => heard.push(detail));
  const notice = createUnreadWatch({ clock, signals, isTaken: (type) => taken[type] });
  return { clock, heard, notice: (contract: unknown) => notice(definitionOf(contract) as ContractDefinition) };
};

describe('the watch for versions that nobody reads', () => {
  it('reports one whose older version has subscribers, also two versions back', () => {
    const { heard, notice } = watch({ 'shop.price.v3': false, 'shop.price.v2': false, 'shop.price.v1': true });
    notice(V3);
    assert.deepEqual(heard, [{ type: 'shop.price.v3', older: 'shop.price.v1' }]);
  });

  it('says nothing of one that is taken, or cast down, or has no past, or is a command', () => {
    const { heard, notice } = watch({ 'shop.price.v2': true, 'shop.price.v1': true });
    notice(V2);
    notice(cast);
    notice(V1);
    notice(defineCommand('shop.do', { schema }));
    assert.deepEqual(heard, []);
  });

  it('says nothing where it cannot be told, or where nobody takes any version', () => {
    const unknown = watch({});
    unknown.notice(V2);
    const nobody = watch({ 'shop.price.v2': false, 'shop.price.v1': false });
    nobody.notice(V2);
    assert.deepEqual([unknown.heard, nobody.heard], [[], []]);
  });

  it('looks again as soon as it can be told', () => {
    const taken: Record<string, boolean> = {};
    const { heard, notice } = watch(taken);
    notice(V2); // not connected yet
    Object.assign(taken, { 'shop.price.v2': false, 'shop.price.v1': true });
    notice(V2);
    assert.equal(heard.length, 1);
  });

  it('looks once a minute', async () => {
    const { clock, heard, notice } = watch({ 'shop.price.v2': false, 'shop.price.v1': true });
    for (let i = 0; i < 10; i++) notice(V2);
    assert.equal(heard.length, 1);
    await clock.advance(60_000);
    notice(V2);
    assert.equal(heard.length, 2);
  });
});
