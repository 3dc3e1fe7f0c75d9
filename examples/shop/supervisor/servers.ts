import { connect } from 'node:net';
import { Advice, type DataFolder } from './data-folder.ts';
import type { ServiceName } from './messages.ts';
import { ownDatabase } from './stores.ts';

/** Milliseconds for a server to take a connection. */
const ANSWER_MS = 5_000;
const PORTS: Readonly<Record<string, number>> = { 'postgres:': 5432, 'postgresql:': 5432, 'amqp:': 5672, 'amqps:': 5671, 'sb:': 5671 };

/** @throws Advice when nobody listens where one of the addresses points: sooner and in fewer words than five services would */
export async function checkServers(env: NodeJS.ProcessEnv): Promise<void> {
  for (const name of ['WAYBILL_STORE', 'WAYBILL_TRANSPORT'] as const) {
    const server = serverOf(env[name]);
    if (!server) continue;
    const trouble = await listens(server);
    if (trouble === undefined) continue;
    throw new Advice(
      `Nothing answers at ${server.host}:${server.port}, where ${name} points (${trouble}). Start that server ("docker compose up --wait" starts both), or leave ${name} out to use files.`,
    );
  }
}

/** Undefined for files, and for what is reached by a path. */
function serverOf(address: string | undefined): { host: string; port: number } | undefined {
  if (!address || !URL.canParse(address)) return undefined;
  const { protocol, hostname, port } = new URL(address);
  const standard = PORTS[protocol];
  if (standard === undefined || hostname === '' || hostname.includes('%2F')) return undefined;
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || standard) };
}

/** @returns why not; undefined when somebody does */
async function listens({ host, port }: { host: string; port: number }): Promise<string | undefined> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port, timeout: ANSWER_MS });
    const end = (trouble?: string): void => {
      socket.destroy();
      resolve(trouble);
    };
    socket.once('connect', () => end());
    socket.once('timeout', () => end('no answer'));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

/** How to get rid of what a service keeps, or to give it a place for it. */
export function nextStep(service: ServiceName, folder: DataFolder, env: NodeJS.ProcessEnv): string {
  const server = serverOf(env['WAYBILL_STORE']);
  if (!server) {
    const reset = env['SHOP_DATA'] ? `SHOP_DATA=${env['SHOP_DATA']} npm run shop:reset` : 'npm run shop:reset';
    return `If its data is the trouble, begin anew: "${reset}" removes everything in ${folder.path}.`;
  }
  const database = new URL(ownDatabase(env['WAYBILL_STORE']!, service)).pathname.slice(1);
  return `If its database is the trouble: it is ${database} on ${server.host}:${server.port}, which must exist ("createdb ${database}") and in which it must be allowed to make tables.`;
}

/** What a reset leaves on servers, as a sentence; empty when everything is in files. */
export function leftOnServers(env: NodeJS.ProcessEnv): string {
  const left = [serverOf(env['WAYBILL_STORE']), serverOf(env['WAYBILL_TRANSPORT'])].flatMap((server) => server ?? []);
  if (left.length === 0) return '';
  const where = left.map(({ host, port }) => `${host}:${port}`).join(' and ');
  return ` What lies on ${where} is as it was: drop the services' databases and queues there too ("docker compose down --volumes" does both).`;
}
