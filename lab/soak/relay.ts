/** Sends what the bank's publishers commit. */
import { createBus } from 'waybill';
import { rabbitmq } from 'waybill/transports/rabbitmq';
import { live, logger, role } from './life.ts';

await live(createBus({ service: 'bank', store: role.store, transport: rabbitmq(role.transport), relay: 'worker', logger }));
