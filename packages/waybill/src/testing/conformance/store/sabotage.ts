import type { StoreSabotage } from './broken.ts';
import { inspectSabotages, keepingSabotages, waitingSabotages } from './sabotage-later.ts';
import { inboxSabotages, outboxSabotages } from './sabotage-messages.ts';
import { sagaSabotages } from './sabotage-sagas.ts';
import { streamSabotages } from './sabotage-streams.ts';
import { transactionSabotages } from './sabotage-transactions.ts';

/** For every case of the store suite a driver that breaks its promise. */
export const storeSabotages: readonly StoreSabotage[] = [
  ...transactionSabotages,
  ...outboxSabotages,
  ...inboxSabotages,
  ...waitingSabotages,
  ...keepingSabotages,
  ...sagaSabotages,
  ...inspectSabotages,
  ...streamSabotages,
];
