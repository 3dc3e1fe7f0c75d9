import { deliveryCases } from './delivery.ts';
import { orderCases } from './order.ts';
import { outcomeCases } from './outcomes.ts';
import { payloadCases } from './payload.ts';
import { queueCases } from './queues.ts';
import { topologyCases } from './topology.ts';
import type { TransportCase } from './world.ts';

/** Everything that the transport port promises. */
export const transportCases: readonly TransportCase[] = [
  ...queueCases,
  ...deliveryCases,
  ...orderCases,
  ...outcomeCases,
  ...payloadCases,
  ...topologyCases,
];
