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

/** Azure's rules: `test/azure-service-bus/stand-in/namespace.ts` has them too. */
const path = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,258}[A-Za-z0-9])?$/;
const short = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,48}[A-Za-z0-9])?$/;

describe('names of Azure entities, for whatever ours are', () => {
  const signs = ['\u{1f600}', ...'abzAZ019._-$/:~ ü世\0'.split('')];
  let seed = 7;
  const below = (max: number): number => (seed = (seed * 48_271) % 0x7fff_ffff) % max;
  const odd = Array.from({ length: 5_000 }, () => Array.from({ length: 1 + below(below(4) === 0 ? 300 : 12) }, () => signs[below(signs.length)]).join(''));
  const given = [...new Set([...odd, ...odd.map((name) => name.toUpperCase()), ...odd.map((name) => `${'common-start.'.repeat(9)}${name}`)])];
  const longest = namesWith('p'.repeat(62));
  const service = 's'.repeat(63);

  for (const [what, rule, nameOf] of [
    ['subscriptions', short, (name: string) => longest.subscription(name)],
    ['rules', short, (name: string) => longest.rule(name)],
    ['rules by attribute', short, (name: string) => longest.rule(name, '_ce1')],
    ['queues', path, (name: string) => longest.queue('command', service, name)],
    ['queues of former names', path, (name: string) => longest.moved(name)],
  ] as const) {
    it(`${what} keep to Azure's rules, and no two are the same to it`, () => {
      const seen = new Map<string, string>();
      for (const name of given) {
        const made = nameOf(name);
        assert.match(made, rule);
        const other = seen.get(made.toLowerCase()); // Azure knows no case
        assert.equal(other, undefined, `${JSON.stringify(name)} and ${JSON.stringify(other)}`);
        seen.set(made.toLowerCase(), name);
      }
    });
  }

  it("a type's rules do not meet another's", () => {
    assert.equal(new Set(given.flatMap((name) => ['', '_ce', '_ce1'].map((suffix) => longest.rule(name, suffix).toLowerCase()))).size, 3 * given.length);
  });

  it('the address of an instance keeps to them', () => {
    assert.match(longest.replies(service, '01a21558-234e-7000-a786-744e7661ec9f'), path);
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
