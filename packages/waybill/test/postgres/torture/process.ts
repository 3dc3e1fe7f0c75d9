/**
 * One process of the torture, written from the public API alone; its role comes as JSON in argv.
 *
 * A publisher raises an account's version and publishes the new one in the same transaction, sometimes with its
 * transaction id taken early, sometimes slowly, sometimes undone. A subscriber writes one effect per message.
 */
import { createBus, defineEvent } from 'waybill';
import * as z from 'zod';

export interface Role {
  readonly role: 'publisher' | 'subscriber';
  readonly service: string;
  /** The database. */
  readonly url: string;
  /** The folder that stands for the broker. */
  readonly folder: string;
  readonly accounts: number;
  /** Of a thousand runs of a handler or block, so many end in SIGKILL. */
  readonly selfKills: number;
}

export const Raised = defineEvent('bank.account-raised', {
  schema: z.object({ account: z.string(), version: z.number().int() }),
  key: (event) => event.account,
  sequence: (event) => event.version,
});

const role = JSON.parse(process.argv[2]!) as Role;
const chance = (share: number): boolean => Math.random() < share;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.random() * ms));
const perhapsDie = (): void => {
  if (chance(role.selfKills / 1_000)) process.kill(process.pid, 'SIGKILL');
};

const bus = createBus({
  service: role.service,
  store: role.url,
  transport: `sqlite:${role.folder}`,
  logger: { debug() {}, info() {}, warn() {}, error: (details, text) => process.stderr.write(`error: ${text} ${JSON.stringify(details)}\n`) },
});

class Undo extends Error {}

async function publish(): Promise<void> {
  const accounts = [...new Set(Array.from({ length: 1 + Math.floor(Math.random() * 3) }, () => `a${Math.floor(Math.random() * role.accounts)}`))].sort();
  try {
    await bus.transaction(async (tx) => {
      if (chance(0.3)) await tx.query('select pg_current_xact_id()');
      if (chance(0.1)) await pause(30);
      for (const account of accounts) {
        const { rows } = await tx.query<{ version: number }>('update account set version = version + 1 where id = $1 returning version', [account]);
        perhapsDie();
        await bus.publish(Raised, { account, version: rows[0]!.version }, { tx });
        if (chance(0.05)) await pause(20);
      }
      if (chance(0.1)) throw new Undo();
    });
  } catch (error) {
    // Away, or not to be told: what is committed is in the database, and that is what is compared.
    if (!(error instanceof Undo)) await pause(100);
  }
}

/** The server may be away just now. */
async function insist(work: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if ((error as { code?: string }).code !== 'STORE_UNREACHABLE' && (error as { code?: string }).code !== 'STORE_BUSY') throw error;
      await pause(100);
    }
  }
}

if (role.role === 'publisher') {
  await insist(() => bus.start());
  process.send?.('working');
  for (;;) {
    await publish();
    await pause(4);
  }
}

const retry = { immediate: 1, delayed: 40, delayMs: 20, delayMaxMs: 100 };
const effect = `insert into effect (subscription, id, account, version) values ($1, $2, $3, $4)`;
bus.subscribe(Raised, { name: 'ordered', order: 'by-key', retry, from: 'beginning' }, async (event, ctx) => {
  await ctx.tx.query(effect, ['ordered', ctx.message.id, event.account, event.version]);
  perhapsDie();
  if (chance(0.005)) throw new Error('now and then');
});
bus.subscribe(Raised, { name: 'own', order: 'any', transaction: 'own', retry, from: 'beginning' }, async (event, ctx) => {
  await ctx.tx.query(effect, ['own', ctx.message.id, event.account, event.version]);
  perhapsDie();
});
await insist(() => bus.start());
process.send?.('working');
process.on('SIGTERM', () => void bus.stop().then(() => process.exit(0)));
