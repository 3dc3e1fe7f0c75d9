import { createBus } from 'waybill';
import { run } from '../service/run.ts';
import { subscribe } from './handlers.ts';
import { basketApp } from './http.ts';
import { createTables as createCheckout } from './checkout.ts';
import { createTables } from './tables.ts';

/** The basket: owns what visitors have put into theirs, and keeps a copy of names and prices. */
const bus = createBus({ service: 'basket' });
subscribe(bus);

await run({
  bus,
  app: basketApp(bus),
  prepare: async () => {
    await bus.transaction(async (tx) => {
      await createTables(tx);
      await createCheckout(tx);
    });
    return undefined;
  },
});
