import { inboxCases } from './inbox.ts';
import { inspectCases } from './inspect.ts';
import { keepingCases } from './keeping.ts';
import { lineCases } from './lines.ts';
import { outboxCases } from './outbox.ts';
import { sagaCases } from './sagas.ts';
import { sessionCases } from './sessions.ts';
import { sqlCases } from './sql.ts';
import { streamCases } from './streams.ts';
import { transactionCases } from './transactions.ts';
import { waitingCases } from './waiting.ts';
import type { StoreCase } from './world.ts';

/** Everything that the store ports promise. */
export const storeCases: readonly StoreCase[] = [
  ...transactionCases,
  ...sessionCases,
  ...sqlCases,
  ...outboxCases,
  ...inboxCases,
  ...waitingCases,
  ...lineCases,
  ...keepingCases,
  ...sagaCases,
  ...inspectCases,
  ...streamCases,
];
