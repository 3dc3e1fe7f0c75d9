/** The official SDK, pointed at a stand-in. */
import { randomUUID } from 'node:crypto';
import { ServiceBusAdministrationClient, ServiceBusClient, type ServiceBusMessage, type ServiceBusReceivedMessage, type ServiceBusReceiver } from '@azure/service-bus';
import type { StandIn } from './stand-in/index.ts';

/** @param timeoutMs how long an operation waits whose answer was lost */
export function sdkClient({ connectionString }: StandIn, timeoutMs = 1_000): ServiceBusClient {
  return new ServiceBusClient(connectionString, { retryOptions: { maxRetries: 1, retryDelayInMs: 50, timeoutInMs: timeoutMs } });
}

/** The SDK has https built in: its requests are turned to the stand-in on their way. */
export function sdkAdministration({ connectionString, administrationPort }: Pick<StandIn, 'connectionString' | 'administrationPort'>): ServiceBusAdministrationClient {
  const client = new ServiceBusAdministrationClient(connectionString, { retryOptions: { maxRetries: 0 } });
  client.pipeline.addPolicy({
    name: 'to the stand-in',
    sendRequest(request, next) {
      const url = new URL(request.url.replace(/^https:/, 'http:'));
      url.port = String(administrationPort);
      request.url = url.toString();
      request.allowInsecureConnection = true;
      return next(request);
    },
  });
  return client;
}

/** Exactly so many, or what has come in five seconds. */
export async function take(receiver: ServiceBusReceiver, count: number, waitMs = 5_000): Promise<ServiceBusReceivedMessage[]> {
  const got: ServiceBusReceivedMessage[] = [];
  while (got.length < count) {
    const some = await receiver.receiveMessages(count - got.length, { maxWaitTimeInMs: waitMs });
    if (some.length === 0) break;
    got.push(...some);
  }
  return got;
}

/** A message; the SDK cannot settle one that has no id while it renews its lock. */
export function message(body: unknown, of: Partial<ServiceBusMessage> = {}): ServiceBusMessage {
  return { body, messageId: randomUUID(), ...of };
}
