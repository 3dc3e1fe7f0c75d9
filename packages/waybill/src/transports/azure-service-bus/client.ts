/**
 * What this transport uses of `@azure/service-bus` 7, structurally: its `ServiceBusClient` and
 * `ServiceBusAdministrationClient` fit, and no declaration of ours names a type of theirs.
 */
export interface AzureMessage {
  body: unknown;
  messageId?: string;
  contentType?: string;
  subject?: string;
  sessionId?: string;
  timeToLive?: number;
  correlationId?: string;
  applicationProperties?: { [name: string]: number | boolean | string | Date | null };
}

/** As the package `long` makes it. */
export interface AzureLong {
  toString(): string;
  subtract(other: any): unknown;
}

export interface AzureReceived {
  readonly body: any;
  readonly messageId?: string | number | Buffer;
  readonly contentType?: string;
  readonly subject?: string;
  readonly sessionId?: string;
  readonly partitionKey?: string;
  readonly deliveryCount?: number;
  readonly lockedUntilUtc?: Date;
  readonly enqueuedTimeUtc?: Date;
  readonly sequenceNumber?: AzureLong;
  readonly deadLetterReason?: string;
  readonly deadLetterErrorDescription?: string;
  readonly applicationProperties?: { readonly [name: string]: unknown };
}

export interface AzureBatch {
  readonly count: number;
  readonly maxSizeInBytes: number;
  tryAddMessage(message: AzureMessage): boolean;
}

export interface AzureSender {
  createMessageBatch(): Promise<AzureBatch>;
  sendMessages(batch: any): Promise<void>;
  close(): Promise<void>;
}

export interface AzureHandlers {
  processMessage(message: AzureReceived): Promise<void>;
  processError(args: { readonly error: Error; readonly errorSource: string }): Promise<void>;
}

export interface AzureReceiver {
  subscribe(handlers: AzureHandlers, options?: { autoCompleteMessages?: boolean; maxConcurrentCalls?: number }): { close(): Promise<void> };
  receiveMessages(max: number, options?: { maxWaitTimeInMs?: number }): Promise<readonly any[]>;
  peekMessages(max: number, options?: { fromSequenceNumber?: any }): Promise<readonly AzureReceived[]>;
  completeMessage(message: any): Promise<void>;
  abandonMessage(message: any, changes?: { [name: string]: any }): Promise<void>;
  renewMessageLock(message: any): Promise<Date>;
  close(): Promise<void>;
}

export interface AzureSession extends Omit<AzureReceiver, 'renewMessageLock'> {
  readonly sessionId: string;
  readonly sessionLockedUntilUtc: Date;
  renewSessionLock(): Promise<Date>;
  getSessionState(): Promise<unknown>;
  setSessionState(state: unknown): Promise<void>;
}

export interface AzureReceiverOptions {
  receiveMode?: 'peekLock' | 'receiveAndDelete';
  skipParsingBodyAsJson?: boolean;
  subQueueType?: 'deadLetter';
  maxAutoLockRenewalDurationInMs?: number;
}

export interface AzureClient {
  createSender(entity: string): AzureSender;
  createReceiver(queue: string, options?: AzureReceiverOptions): AzureReceiver;
  createReceiver(topic: string, subscription: string, options?: AzureReceiverOptions): AzureReceiver;
  acceptNextSession(queue: string, options?: AzureReceiverOptions): Promise<AzureSession>;
  acceptNextSession(topic: string, subscription: string, options?: AzureReceiverOptions): Promise<AzureSession>;
  close(): Promise<void>;
}

export interface AzureFilter {
  subject?: string;
  applicationProperties?: { [name: string]: string };
}

interface Described {
  readonly requiresSession: boolean;
  readonly userMetadata?: string;
}

export interface AzureAdministration {
  topicExists(name: string): Promise<boolean>;
  createTopic(name: string, options?: object): Promise<unknown>;
  getSubscription(topic: string, name: string): Promise<Described>;
  createSubscription(topic: string, name: string, options?: any): Promise<unknown>;
  deleteSubscription(topic: string, name: string): Promise<unknown>;
  getSubscriptionRuntimeProperties(topic: string, name: string): Promise<{ readonly activeMessageCount: number }>;
  listRules(topic: string, subscription: string): AsyncIterable<{ readonly name: string; readonly filter?: object }>;
  createRule(topic: string, subscription: string, name: string, filter: any): Promise<unknown>;
  deleteRule(topic: string, subscription: string, name: string): Promise<unknown>;
  getQueue(name: string): Promise<any>;
  createQueue(name: string, options?: any): Promise<unknown>;
  updateQueue(queue: any): Promise<unknown>;
  deleteQueue(name: string): Promise<unknown>;
  listQueues(): AsyncIterable<{ readonly name: string; readonly userMetadata?: string }>;
  getQueueRuntimeProperties(name: string): Promise<{ readonly activeMessageCount: number }>;
}
