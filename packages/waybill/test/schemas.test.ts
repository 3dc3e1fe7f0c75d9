import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type } from 'arktype';
import * as v from 'valibot';
import { defineEvent, type StandardSchema, WaybillError } from 'waybill';
import { createTestBus } from 'waybill/testing';
import * as z from 'zod';

/** The same contract in each library: a number that travels as text, a default, a check. */
const libraries: Record<string, StandardSchema<{ amount: string; unit?: string | undefined }, { amount: number; unit: string }>> = {
  zod: z.object({ amount: z.string().regex(/^\d+$/).transform(Number), unit: z.string().default('pcs') }),
  valibot: v.object({ amount: v.pipe(v.string(), v.regex(/^\d+$/), v.transform(Number)), unit: v.optional(v.string(), 'pcs') }),
  'valibot, asynchronously': v.objectAsync({
    amount: v.pipeAsync(v.string(), v.regex(/^\d+$/), v.checkAsync(async () => Promise.resolve(true)), v.transform(Number)),
    unit: v.optional(v.string(), 'pcs'),
  }),
  arktype: type({ amount: /^\d+$/, 'unit?': 'string' }).pipe(({ amount, unit }) => ({ amount: Number(amount), unit: unit ?? 'pcs' })),
};

for (const [library, schema] of Object.entries(libraries)) {
  describe(`a contract in ${library}`, () => {
    const Counted = defineEvent('stock.counted', { schema });

    it('sends the input as it was given, and gives handlers the output', async () => {
      await using bus = createTestBus({ service: 'stock' });
      const seen: unknown[] = [];
      bus.subscribe(Counted, (event) => void seen.push(event));
      await bus.publish(Counted, { amount: '12' });
      await bus.settled();
      assert.deepEqual(seen, [{ amount: 12, unit: 'pcs' }]);
    });

    it('refuses what does not fit, and nothing is written', async () => {
      await using bus = createTestBus({ service: 'stock' });
      const seen: unknown[] = [];
      bus.subscribe(Counted, (event) => void seen.push(event));
      await assert.rejects(bus.publish(Counted, { amount: 'twelve' }), (error) => WaybillError.is(error, 'CONTRACT_VIOLATION'));
      await bus.settled();
      assert.deepEqual(seen, []);
      assert.equal(bus.history().filter(({ signal }) => signal === 'published').length, 0);
    });
  });
}
