import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openStore } from '../../../test/sqlite/support.ts';
import { isFree, readLease, releaseLease, renewLease, takeLease } from './lease.ts';

describe('a lease', () => {
  it('tells whether its last holder left in peace, and counts its holders', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.database.write(({ statements }) => {
      const first = takeLease(statements, { name: 's', owner: 'a', seen: undefined, expiresMs: 10 })!;
      assert.deepEqual(first, { hold: { name: 's', owner: 'a', epoch: 1 }, clean: true });
      const second = takeLease(statements, { name: 's', owner: 'b', seen: readLease(statements, 's'), expiresMs: 20 })!;
      assert.deepEqual(second, { hold: { name: 's', owner: 'b', epoch: 2 }, clean: false });
      assert.equal(renewLease(statements, first.hold, 99), false);
      assert.equal(releaseLease(statements, first.hold), false);
      assert.equal(releaseLease(statements, second.hold), true);
      const third = takeLease(statements, { name: 's', owner: 'a', seen: readLease(statements, 's'), expiresMs: 30 })!;
      assert.deepEqual(third, { hold: { name: 's', owner: 'a', epoch: 3 }, clean: true });
      assert.deepEqual({ ...readLease(statements, 's') }, { owner: 'a', epoch: 3, expires: 30, clean: 0, revision: 0 });
    });
  });

  it('is not taken from somebody who has renewed it since it was seen', async (t) => {
    const store = await openStore(t, ':memory:');
    await store.database.write(({ statements }) => {
      const { hold } = takeLease(statements, { name: 's', owner: 'a', seen: undefined, expiresMs: 10 })!;
      const seen = readLease(statements, 's');
      renewLease(statements, hold, 50);
      assert.equal(takeLease(statements, { name: 's', owner: 'b', seen, expiresMs: 60 }), undefined);
      assert.equal(takeLease(statements, { name: 's', owner: 'b', seen: undefined, expiresMs: 60 }), undefined);
    });
  });

  it('is free when nobody has it, when it has run out, when it lies too far ahead, or when its owner is dead', () => {
    const lease = (owner: string | null, expires: number) => ({ owner, expires, epoch: 1, clean: 0, revision: 0 });
    const now = { nowMs: 100, leaseMs: 30 };
    assert.equal(isFree(undefined, now), true);
    assert.equal(isFree(lease(null, 0), now), true);
    assert.equal(isFree(lease('a', 100), now), true);
    assert.equal(isFree(lease('a', 131), now), true);
    assert.equal(isFree(lease('a', 130), now), false);
    assert.equal(isFree(lease('a', 101), now), false);
    assert.equal(isFree(lease('a', 101), { ...now, hasDied: (owner) => owner === 'a' }), true);
  });
});
