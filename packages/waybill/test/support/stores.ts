import { describe } from 'node:test';

/** The suite over each store that a test can have without a server. */
export function overStores(name: string, suite: (store: string) => void): void {
  for (const store of ['sqlite::memory:', 'memory:']) describe(`${name}, ${store}`, () => suite(store));
}

/** The stores say that they are servers (`as-server.ts`): a batch is undone as a whole, and innocents run again. */
export const asServer: boolean = process.env['WAYBILL_TEST_AS_SERVER'] !== undefined;
