/**
 * Private servers for a benchmark, in a process of their own: starts PostgreSQL and RabbitMQ, prints one line of JSON with
 * their URLs and process ids, and ends them when its standard input ends. With the word `logical` PostgreSQL's log can be
 * read; with `no-rabbitmq` it stands alone. A line `rabbitmq kill` or `rabbitmq start` does that to the broker, and is answered.
 */
import { dirname } from 'node:path';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { needs } from '../../../../test/support/needs.ts';
import { startPostgres } from './postgres-server.ts';
import { type RabbitServer, rabbitServer } from './rabbitmq-server.ts';

const alone = process.argv.includes('no-rabbitmq');
if (!alone) needs('rabbitmq');
const [rabbit, postgres] = await Promise.all([
  alone ? undefined : rabbitServer(),
  startPostgres({ bin: dirname(needs('postgres').path!), settings: { fsync: 'on', shared_buffers: '256MB', max_wal_size: '4GB', max_connections: 120, ...(process.argv.includes('logical') && { wal_level: 'logical' }) } }),
]);
const beamOf = async ({ folder }: RabbitServer): Promise<number> => Number(await readFile(`${folder}/pid`, 'utf8'));
const beam = rabbit ? await beamOf(rabbit) : 0;
console.log(JSON.stringify({ amqp: rabbit?.url, postgres: postgres.url(await postgres.createDatabase()), beam, postmaster: postgres.pid }));
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [, what] = /^rabbitmq (kill|start)$/.exec(line) ?? [];
    if (rabbit && what) void rabbit[what as 'kill' | 'start']().then(async () => console.log(JSON.stringify({ beam: what === 'start' ? await beamOf(rabbit) : 0 })));
  })
  .on('close', () => void Promise.all([rabbit?.close(), postgres.close()]).then(() => process.exit(0)));
