import { createBus } from 'waybill';
import { run } from '../service/run.ts';
import { subscribe } from './handlers.ts';
import { orderingApp } from './http.ts';
import { createTables } from './orders.ts';
import { orderProcess } from './process.ts';

/** Milliseconds, so short that somebody who watches does not fall asleep. */
const GRACE_MS = 5_000;
const PACKING_MS = 3_000;

/** Ordering: owns orders, and leads each of them from taken on to shipped or cancelled. */
const bus = createBus({ service: 'ordering' });
subscribe(bus);
bus.run(
  orderProcess({
    graceMs: Number(process.env['SHOP_GRACE_MS'] || GRACE_MS),
    packingMs: Number(process.env['SHOP_PACKING_MS'] || PACKING_MS),
  }),
);

await run({
  bus,
  app: orderingApp(bus),
  prepare: async () => {
    await bus.transaction(createTables);
    return undefined;
  },
});
