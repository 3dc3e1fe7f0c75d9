/**
 * Private servers for a benchmark, in a process of their own: starts PostgreSQL and RabbitMQ, prints one line of JSON with
 * their URLs and process ids, and ends them when its standard input ends. With the word `logical` PostgreSQL's log can be read.
 */
import { dirname } from 'node:path';
import { readFile } from 'node:fs/promises';
import { needs } from '../../../../test/support/needs.ts';
import { startPostgres } from './postgres-server.ts';
import { rabbitServer } from './rabbitmq-server.ts';

needs('rabbitmq');
const [rabbit, postgres] = await Promise.all([
  rabbitServer(),
  startPostgres({ bin: dirname(needs('postgres').path!), settings: { fsync: 'on', shared_buffers: '256MB', max_wal_size: '4GB', ...(process.argv.includes('logical') && { wal_level: 'logical' }) } }),
]);
const beam = Number(await readFile(`${rabbit.folder}/pid`, 'utf8'));
console.log(JSON.stringify({ amqp: rabbit.url, postgres: postgres.url(await postgres.createDatabase()), beam, postmaster: postgres.pid }));
process.stdin.resume().on('end', () => void Promise.all([rabbit.close(), postgres.close()]).then(() => process.exit(0)));
