/** What somebody should know before he trusts a configuration with his messages. */
export interface Finding {
  /** Stable, in capitals: names the finding where it is accepted on purpose. */
  readonly code: FindingCode;
  /** `unsafe`: a promise of Waybill does not hold. `warning`: it holds, and something is about to hurt. */
  readonly severity: 'unsafe' | 'warning';
  /** What was found, with its values. */
  readonly message: string;
  /** What to do. */
  readonly next: string;
}

/** Every finding there is. docs/doctor.md lists them; a test compares the two. */
export const findingCodes = [
  'CLOCK_SKEW',
  'DEAD_LETTERED_BY_BROKER',
  'DEAD_LETTERS_MISSING',
  'POSTGRES_COMMIT_ASYNC',
  'POSTGRES_FSYNC_OFF',
  'POSTGRES_FULL_PAGE_WRITES_OFF',
  'POSTGRES_SEQUENCE_BEHIND',
  'POSTGRES_SLOT_INACTIVE',
  'POSTGRES_STANDBY',
  'POSTGRES_SUPERUSER',
  'POSTGRES_TOO_OLD',
  'QUEUE_MISSING',
  'QUEUE_OTHER_ARGUMENTS',
  'QUEUES_NOT_REPLICATED',
  'RABBITMQ_TOO_OLD',
  'RETRIES_OUTLIVE_LEDGER',
  'SQLITE_NOT_DURABLE',
  'SQLITE_NO_WAL',
  'STORE_FORGETS',
] as const;
export type FindingCode = (typeof findingCodes)[number];
