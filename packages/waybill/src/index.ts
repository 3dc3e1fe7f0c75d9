/// <reference lib="esnext.disposable" preserve="true" />
/** The public names of `waybill`, one by one. */
export { createBus } from './bus.ts';
export { defineCommand, defineEvent } from './contract/contracts.ts';
export { defineSaga } from './saga/define.ts';
export type { ReplyFailure, Saga, SagaBuilder, SagaContext } from './contract/saga.ts';
export type { CommandContract, Draft, EventContract, EventOf, InputOf, MessageOptions, ReplyOf } from './contract/contracts.ts';
export { Reject, RetryLater, WaybillError } from './contract/errors.ts';
export type { WaybillErrorCode } from './contract/errors.ts';
export type {
  BatchContext,
  BatchOptions,
  Bus,
  BusOptions,
  CommonOptions,
  ContextOf,
  Freshness,
  HandleOptions,
  Handler,
  HandlerContext,
  Health,
  ManualContext,
  Middleware,
  MultiSubscription,
  OnceOptions,
  Order,
  Published,
  Publisher,
  PublishOptions,
  RelayMode,
  Retry,
  SagaOptions,
  Schedule,
  SubscribeOptions,
  Subscription,
  TransactionMode,
  TxOf,
} from './contract/api.ts';
export type { Format } from './contract/format.ts';
export type { Envelope, Message, OutgoingMessage } from './contract/message.ts';
export type { StandardSchema } from './contract/schema.ts';
export type { HandlingRef, Logger, MessageRef, SignalMap, SignalName } from './contract/signals.ts';
export type { SagaStatus, Store } from './contract/store.ts';
export type { SqlTransaction, TransactionLike } from './contract/transaction.ts';
export type { Transport } from './contract/transport.ts';
