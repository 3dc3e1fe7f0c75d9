import { createBus } from 'waybill';
import { createApp } from '../service/http.ts';
import { run } from '../service/run.ts';
import { gatewayAt } from './gateway.ts';
import { subscribe } from './handlers.ts';
import { createTables } from './payments.ts';

/** Payment: charges and pays back by the gateway, and tells what came of it. */
const bus = createBus({ service: 'payment' });
subscribe(bus, gatewayAt(() => process.env['GATEWAY_URL']), Number(process.env['SHOP_RETRY_MS']) || undefined);

await run({
  bus,
  app: createApp(),
  prepare: async () => {
    await bus.transaction(createTables);
    return undefined;
  },
});
