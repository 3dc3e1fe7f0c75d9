import assert from 'node:assert/strict';
import { it } from 'node:test';
import { createRandom } from './random.ts';
import { tearInto } from './tear.ts';

const imageOf = (bytes: Buffer) => ({
  read: async (into: Uint8Array, offset: number, length: number, position: number) => void bytes.copy(into, offset, position, position + length),
  write: async (from: Uint8Array, offset: number, length: number, position: number) => bytes.set(from.subarray(offset, offset + length), position),
});

it('some sectors of what overwrites files reach the disk, whole, and nothing else does', async () => {
  let both = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const [before, after] = [Buffer.alloc(65_536, 'a'), Buffer.alloc(65_536, 'b')];
    after.fill('a', 0, 16_384); // was on the disk already
    const torn = await tearInto({ before: imageOf(before), after: imageOf(after) }, [{ at: 0, bytes: 32_768 }, { at: 40_960, bytes: 8_192 }], createRandom(seed));
    const sectors = Array.from({ length: 128 }, (_, i) => before.subarray(i * 512, i * 512 + 512));
    for (const [i, sector] of sectors.entries()) {
      assert.ok(sector.every((byte) => byte === sector[0]), `sector ${i} is half of each`);
      const mayBeTorn = (i >= 32 && i < 64) || (i >= 80 && i < 96);
      if (!mayBeTorn) assert.equal(sector[0], 'a'.charCodeAt(0), `sector ${i} is of no file, or had been written`);
    }
    const fresh = sectors.filter(([first]) => first === 'b'.charCodeAt(0)).length;
    assert.equal((fresh > 0), torn > 0);
    if (fresh > 0 && fresh < 48) both++;
  }
  assert.ok(both > 5, `only ${both} of 20 were torn`);
});
