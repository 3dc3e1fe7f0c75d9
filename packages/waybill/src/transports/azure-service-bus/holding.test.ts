import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Holding } from './holding.ts';

const lockMs = 30_000;

/** As many as it allows are in hand, and each takes so long. */
function finish(holding: Holding, count: number, heldMs: number): void {
  for (let n = 0; n < count; n++) holding.finished(heldMs, holding.size);
}

describe('what an instance holds', () => {
  it('grows while everything is finished early, up to a bound', () => {
    const holding = new Holding({ lockMs, concurrency: 16 });
    const first = holding.size;
    finish(holding, first, 10);
    assert.equal(holding.size, 2 * first);
    finish(holding, 100_000, 10);
    assert.equal(holding.size, 2_000);
  });

  it('does not grow by what comes one by one', () => {
    const holding = new Holding({ lockMs, concurrency: 16 });
    const first = holding.size;
    for (let n = 0; n < 10_000; n++) holding.finished(10, 1);
    assert.equal(holding.size, first);
  });

  it('is halved by what is finished late, once for all that was in hand then', () => {
    const holding = new Holding({ lockMs, concurrency: 16 });
    finish(holding, 10_000, 10);
    assert.equal(holding.size, 2_000);
    finish(holding, 1_999, 20_000);
    assert.equal(holding.size, 1_000);
    finish(holding, 10, 20_000);
    assert.equal(holding.size, 500);
  });

  it('stays where it is between early and late', () => {
    const holding = new Holding({ lockMs, concurrency: 16 });
    const first = holding.size;
    finish(holding, 10_000, 10_000);
    assert.equal(holding.size, first);
  });

  it('never keeps a handler without work: two for each that runs at the same time', () => {
    const holding = new Holding({ lockMs, concurrency: 300 });
    assert.equal(holding.size, 600);
    finish(holding, 100_000, 60_000);
    assert.equal(holding.size, 600);
  });
});
