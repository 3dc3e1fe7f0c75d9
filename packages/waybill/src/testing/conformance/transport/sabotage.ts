import type { TransportSabotage } from './broken.ts';
import { deliverySabotages } from './sabotage-delivery.ts';
import { messageSabotages } from './sabotage-messages.ts';
import { queueSabotages } from './sabotage-queues.ts';
import { topologySabotages } from './sabotage-topology.ts';

/** For every case of the transport suite a driver that breaks its promise. */
export const transportSabotages: readonly TransportSabotage[] = [...queueSabotages, ...deliverySabotages, ...messageSabotages, ...topologySabotages];
