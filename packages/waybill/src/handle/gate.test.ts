import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createGate } from './gate.ts';

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

describe('the gate', () => {
  it('lets many pass together', async () => {
    const gate = createGate();
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 5 }, () =>
        gate.pass(async () => {
          most = Math.max(most, ++inside);
          await turn();
          inside--;
        }),
      ),
    );
    assert.equal(most, 5);
  });

  it('lets one alone only when nobody is inside, and nobody in meanwhile', async () => {
    const gate = createGate();
    const order: string[] = [];
    const first = gate.pass(async () => {
      await turn();
      order.push('first');
    });
    const alone = gate.alone(async () => {
      order.push('alone begins');
      await turn();
      order.push('alone ends');
      return 7;
    });
    const second = gate.pass(async () => void order.push('second'));
    assert.equal(await alone, 7);
    await Promise.all([first, second]);
    assert.deepEqual(order, ['first', 'alone begins', 'alone ends', 'second']);
  });

  it('lets those that go alone in one after another, also when one throws', async () => {
    const gate = createGate();
    const order: string[] = [];
    const one = (name: string, fails = false) =>
      gate.alone(async () => {
        order.push(`${name} in`);
        await turn();
        order.push(`${name} out`);
        if (fails) throw new Error(name);
      });
    const results = await Promise.allSettled([one('a'), one('b', true), one('c')]);
    assert.deepEqual(order, ['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
    assert.deepEqual(results.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled']);
    assert.equal(await gate.pass(async () => 'open again'), 'open again');
  });

  it('stays in order under a mixed crowd', async () => {
    const gate = createGate();
    let inside = 0;
    let alone = false;
    const work = (isAlone: boolean) => async (): Promise<void> => {
      inside++;
      if (isAlone) alone = true;
      assert.ok(!alone || inside === 1, 'somebody is in beside the one that goes alone');
      await turn();
      if (isAlone) alone = false;
      inside--;
    };
    await Promise.all(Array.from({ length: 60 }, (_, i) => (i % 7 === 3 ? gate.alone(work(true)) : gate.pass(work(false)))));
    assert.equal(inside, 0);
  });
});
