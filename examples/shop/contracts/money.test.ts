import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PRICE_CENTS_MAX, toCents, toDecimal } from './money.ts';

describe('money', () => {
  it('crosses the border both ways without losing a cent', () => {
    for (let cents = 1; cents <= 20_000; cents++) assert.equal(toCents(toDecimal(cents)), cents);
    assert.equal(toCents(toDecimal(PRICE_CENTS_MAX)), PRICE_CENTS_MAX);
  });

  it('takes decimals that binary fractions cannot hold exactly', () => {
    assert.equal(toCents(9.95), 995);
    assert.equal(toCents(1.1), 110);
    assert.equal(toCents(19.99), 1999);
  });

  for (const [what, decimal] of [
    ['negative', -1],
    ['zero', 0],
    ['a fraction of a cent', 9.999],
    ['more than the most', 100_000.01],
    ['huge', 1e300],
    ['not a number', Number.NaN],
    ['endless', Number.POSITIVE_INFINITY],
  ] as const) {
    it(`refuses a price that is ${what}`, () => assert.equal(toCents(decimal), undefined));
  }
});
