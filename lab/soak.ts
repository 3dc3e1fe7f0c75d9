/**
 * `npm run soak -- --minutes 6 --seed S`: publishers in five client libraries, two relay processes and three consumers on a
 * private PostgreSQL and RabbitMQ, all of them killed, frozen and cut off for so long; then ledger, queues and business tables are
 * compared. Exits with 1 when they do not agree. `--libraries pg,Prisma,…` names the publishers.
 */
import { parseArgs } from 'node:util';
import { type LibraryName, libraryNames } from './soak/libraries/index.ts';
import { soak } from './soak/run.ts';
import { createRandom } from './torture/random.ts';
import { numberOf, show, usage } from './trial-command.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '6' },
    seed: { type: 'string', default: '1' },
    libraries: { type: 'string', default: 'pg,Kysely,Drizzle,Prisma,TypeORM' },
    /** Seconds that a frozen process sleeps, and that a killed server is away, at most. */
    freeze: { type: 'string', default: '60' },
    outage: { type: 'string', default: '15' },
  },
});
const options = {
  seconds: numberOf('minutes', values.minutes, 0.01, 1_440) * 60,
  libraries: values.libraries.split(',').map((name): LibraryName => libraryNames.find((one) => one === name) ?? usage(`--libraries takes ${libraryNames.join(', ')}`)),
  random: createRandom(numberOf('seed', values.seed, 0, 2 ** 32)),
  freezeMaxMs: numberOf('freeze', values.freeze, 1, 3_600) * 1_000,
  outageMaxMs: numberOf('outage', values.outage, 0, 3_600) * 1_000,
};
await show(
  { name: 'soak', seconds: options.seconds },
  (at) => soak({ ...options, ...at }),
  ({ violations: _, troubles: __, books: ___, history: ____, ...figures }) => figures,
);
