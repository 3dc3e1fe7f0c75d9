/** `npm run shop:azure`: the acceptance over Azure Service Bus, or rather its stand-in here; the services keep their files. */
import { startStandIn } from '../../../../packages/waybill/test/azure-service-bus/stand-in/index.ts';
import { acceptance } from './acceptance.ts';

acceptance({
  name: 'over the stand-in of Azure Service Bus',
  looks: [],
  async ground() {
    const standIn = await startStandIn();
    return { env: { WAYBILL_TRANSPORT: standIn.url }, [Symbol.asyncDispose]: () => standIn.close() };
  },
});
