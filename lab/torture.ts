/**
 * `npm run torture -- --store postgres --transport rabbitmq --minutes 10 --seed S`: publishers, relays, subscribers and
 * sagas as real processes on private servers, and a nemesis with a seed; afterwards their histories and their databases
 * are judged. Exits with 1 on a violation, whose story it prints. `--disk` puts the stores on a file system of their own
 * that gets full and loses its power (needs the right to mount). `--losses` deletes queues and puts backups back; afterwards the ledgers
 * are published again, as an operator would. `--unsafe full_page_writes` (or `fsync`) switches that off in PostgreSQL: then the run must fail. History and state stay in the folder it names.
 */
import { parseArgs } from 'node:util';
import { stores, transports } from './torture/ground.ts';
import { createRandom } from './torture/random.ts';
import { torture } from './torture/run.ts';
import { numberOf, show, usage } from './trial-command.ts';

const { values } = parseArgs({
  options: {
    store: { type: 'string', default: 'sqlite' },
    transport: { type: 'string', default: 'sqlite' },
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    /** Seconds that a frozen process sleeps at most. */
    freeze: { type: 'string', default: '90' },
    disk: { type: 'boolean', default: false },
    /** With a disk: what PostgreSQL is to do without, as a control. */
    unsafe: { type: 'string' },
    /** Queues are deleted, backups put back. */
    losses: { type: 'boolean', default: false },
    /** A regular expression: only faults whose names match. */
    only: { type: 'string', default: '' },
  },
});
const options = {
  seconds: numberOf('minutes', values.minutes, 0.01, 1_440) * 60,
  pair: { store: oneOf('store', stores), transport: oneOf('transport', transports) },
  random: createRandom(numberOf('seed', values.seed, 0, 2 ** 32)),
  freezeMaxMs: numberOf('freeze', values.freeze, 1, 3_600) * 1_000,
  ownDisk: values.disk,
  ...(values.unsafe !== undefined && { unsafe: unsafe(values.unsafe) }),
  losses: values.losses,
  only: new RegExp(values.only),
};
await show(
  { name: 'torture', seconds: options.seconds },
  (at) => torture({ ...options, ...at }),
  ({ violations: _, troubles: __, state: ___, history: ____, ...figures }) => figures,
);

function oneOf<T extends string>(name: 'store' | 'transport', known: readonly T[]): T {
  return known.find((one) => one === values[name]) ?? usage(`--${name} must be one of ${known.join(', ')}`);
}

function unsafe(setting: string): Record<string, string> {
  if (setting !== 'fsync' && setting !== 'full_page_writes') usage('--unsafe must be fsync or full_page_writes');
  process.env.WAYBILL_ACCEPT = `POSTGRES_${setting.toUpperCase()}_OFF`; // or no bus would start on it
  return { [setting]: 'off' };
}
