import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { namesWith, sessionOf, sessionsMax } from './names.ts';

const names = namesWith('waybill');
const long = `basket.${'catalog-product-price-changed.'.repeat(4)}v1`;

describe('names of Azure entities', () => {
  it('are the names of ours where they fit', () => {
    assert.equal(names.subscription('basket.product-view'), 'basket.product-view');
    assert.equal(names.rule('catalog.price-changed.v1'), 'catalog.price-changed.v1');
    assert.equal(names.queue('command', 'ordering', 'ordering.create.v1'), 'waybill/commands/ordering/ordering.create.v1');
  });

  it('keep to 50 characters, and two long ones that begin alike do not meet', () => {
    const [one, two] = [names.subscription(`${long}1`), names.subscription(`${long}2`)];
    assert.ok(one.length <= 50 && two.length <= 50);
    assert.notEqual(one, two);
    assert.match(one, /^[a-z0-9][a-z0-9._-]*[a-z0-9]$/);
    assert.ok(names.rule(long, '_ce1').length <= 50);
  });

  it('are the same each time, and free of signs and capitals that Azure does not tell apart', () => {
    assert.equal(names.rule('Catalog.Contracts:Price'), names.rule('Catalog.Contracts:Price'));
    assert.notEqual(names.rule('Catalog.Price').toLowerCase(), names.rule('catalog.price').toLowerCase());
    assert.match(names.queue('command', 'a', 'Catalog:Price'), /^[\w./-]+$/);
  });
});

describe('sessions', () => {
  it('spread keys evenly over all of them, and a key is always in the same one', () => {
    const counts = new Map<string, number>();
    for (let n = 0; n < 3_200; n++) counts.set(sessionOf(`product-${n}`), (counts.get(sessionOf(`product-${n}`)) ?? 0) + 1);
    assert.equal(counts.size, sessionsMax);
    assert.ok(Math.max(...counts.values()) < 160, `at most ${Math.max(...counts.values())} of 100 on average`);
    assert.deepEqual(['', 'a', 'key-1', 'ü', '世界'].map(sessionOf), ['', 'a', 'key-1', 'ü', '世界'].map(sessionOf));
  });

  it('do not move: senders of all versions must agree', () => {
    assert.deepEqual(['p1', 'order-42', 'ü'].map(sessionOf), ['7', '28', '12']);
  });
});
