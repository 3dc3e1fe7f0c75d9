/** The simulation behind docs/capacity.md, where what it must say can be reckoned by hand. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Costs, firstBottleneck, shapeFor, simulate } from '../benchmarks/capacity/simulation.ts';

const costs: Costs = { writeUs: 10, relayUs: 50, relayDatabaseUs: 10, brokerUs: 40, consumerUs: 100, consumerDatabaseUs: 200, flushMs: 2, roundTripMs: 0.5 };
const single = { services: 1, queues: 1, consumers: 1, publisherDatabases: 1, consumerDatabases: 1, databaseCores: 4 };

describe('the simulation of capacity', () => {
  it('finds the place that is full first, at the rate that its cost gives', () => {
    const { perSecond, place } = firstBottleneck(costs, single);
    assert.equal(place, 'a consumer');
    assert.ok(Math.abs(perSecond - 10_000) < 1_000, String(perSecond));
    const cheaper = firstBottleneck({ ...costs, consumerUs: 1 }, single);
    assert.notEqual(cheaper.place, 'a consumer');
  });

  it('waits at least for every commit and round trip, and longer the busier a place is', () => {
    const quiet = simulate(costs, single, { perSecond: 100, seconds: 5 });
    const busy = simulate(costs, single, { perSecond: 9_000, seconds: 5 });
    assert.ok(quiet.p50Ms >= 4 * 2 + 9 * 0.5, String(quiet.p50Ms));
    assert.ok(busy.p99Ms > quiet.p99Ms);
  });

  it('has enough of each at every size that it names, and says the same each time', () => {
    for (const perSecond of [1_000, 20_000]) {
      const shape = shapeFor(costs, perSecond, 0.6, 4);
      const found = simulate(costs, shape, { perSecond, seconds: 2 });
      assert.ok(Math.max(...Object.values(found.busy)) < 0.9, JSON.stringify(found));
      assert.deepEqual(simulate(costs, shape, { perSecond, seconds: 2 }), found);
    }
  });

  it('lets what a dying relay had wait until another has taken over', () => {
    const found = simulate(costs, single, { perSecond: 1_000, seconds: 10, dies: { atMs: 3_000 } });
    assert.ok(found.p99Ms > 3_000, String(found.p99Ms));
    assert.ok(simulate(costs, single, { perSecond: 1_000, seconds: 10 }).p99Ms < 100);
  });
});
