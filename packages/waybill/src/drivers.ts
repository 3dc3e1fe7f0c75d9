import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { BusOptions } from './contract/api.ts';
import { WaybillError } from './contract/errors.ts';
import type { Store } from './contract/store.ts';
import type { Transport } from './contract/transport.ts';

/** The default directory of the embedded bus. */
const directoryName = '.waybill';

type Env = Readonly<Record<string, string | undefined>>;

/** The store that the options, the environment, or the default name. @throws WaybillError `NOT_CONFIGURED`, `INVALID_URL` */
export async function loadStore(options: BusOptions<any>, env: Env): Promise<Store> {
  const given = options.store ?? env.WAYBILL_STORE;
  if (typeof given === 'object') return given;
  if (given === undefined || given === '') {
    refuseInProduction('store', 'WAYBILL_STORE', env);
    const { sqlite } = await import('./stores/sqlite/index.ts');
    return sqlite(path.join(defaultDirectory(), `${options.service}.db`));
  }
  const [scheme, rest] = split(given, 'store');
  switch (scheme) {
    case 'sqlite': {
      const { sqlite } = await import('./stores/sqlite/index.ts');
      return sqlite(rest === ':memory:' ? rest : path.resolve(rest));
    }
    case 'memory': {
      const { memory } = await import('./stores/memory/index.ts');
      return memory();
    }
    case 'postgres':
    case 'postgresql': {
      const { postgres } = await import('./stores/postgres/index.ts');
      return postgres(given);
    }
    default:
      throw unknown('store', scheme, 'postgres://…, sqlite:FILE or memory:');
  }
}

/** The transport that the options, the environment, or the default name. @throws as `loadStore` */
export async function loadTransport(options: BusOptions<any>, env: Env): Promise<Transport> {
  const given = options.transport ?? env.WAYBILL_TRANSPORT;
  if (typeof given === 'object') return given;
  if (given === undefined || given === '') {
    refuseInProduction('transport', 'WAYBILL_TRANSPORT', env);
    const { sqlite } = await import('./transports/sqlite/index.ts');
    return sqlite(defaultDirectory());
  }
  const [scheme, rest] = /^endpoint=sb:/i.test(given) ? ['sb', ''] : split(given, 'transport'); // Azure's connection string
  switch (scheme) {
    case 'sqlite': {
      const { sqlite } = await import('./transports/sqlite/index.ts');
      return sqlite(path.resolve(rest));
    }
    case 'memory': {
      const { memory } = await import('./transports/memory/index.ts');
      return memory();
    }
    case 'sb': {
      const { azureServiceBus } = await import('./transports/azure-service-bus/index.ts');
      return azureServiceBus(given);
    }
    case 'amqp':
    case 'amqps': {
      const { rabbitmq } = await import('./transports/rabbitmq/index.ts');
      return rabbitmq(given);
    }
    default:
      throw unknown('transport', scheme, 'amqp(s)://…, sb://…, sqlite:DIRECTORY or memory:');
  }
}

/** The directory of the embedded default, where the store or the transport is left to it. */
export function embeddedDirectory(options: BusOptions<any>, env: Env): string | undefined {
  const given = [options.store ?? env.WAYBILL_STORE, options.transport ?? env.WAYBILL_TRANSPORT];
  return given.some((value) => value === undefined || value === '') ? defaultDirectory() : undefined;
}

/** A forgotten variable must not send messages to a container's disk. */
function refuseInProduction(what: string, variable: string, env: Env): void {
  if (env.NODE_ENV !== 'production') return;
  throw new WaybillError(
    'NOT_CONFIGURED',
    `no ${what} is configured and NODE_ENV is production: set ${variable} or the option \`${what}\`; the embedded default must be asked for (sqlite:…)`,
  );
}

function split(url: string, what: string): [scheme: string, rest: string] {
  const at = url.indexOf(':');
  const scheme = at > 0 ? url.slice(0, at).toLowerCase() : '';
  const rest = url.slice(at + 1);
  if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) {
    throw new WaybillError('INVALID_URL', `the ${what} URL has no scheme; write for instance sqlite:${directoryName}`);
  }
  if (scheme !== 'sqlite') return [scheme, rest];
  const file = rest.startsWith('///') ? rest.slice(2) : rest;
  if (file === '' || file.startsWith('//') || file.includes('\0')) {
    throw new WaybillError('INVALID_URL', `a SQLite ${what} URL is sqlite: and a path, as in sqlite:${directoryName}`);
  }
  return [scheme, file];
}

/** The rest of the URL may hold a password: only the scheme is repeated. */
function unknown(what: string, scheme: string, known: string): WaybillError {
  return new WaybillError('INVALID_URL', `no ${what} driver for "${scheme}:"; this version has ${known}`);
}

/**
 * The nearest `.waybill` upwards from the working directory, else beside the workspace root's package.json, so that two
 * services of one repository meet; else in the working directory.
 */
export function defaultDirectory(from: string = process.cwd()): string {
  let nearestPackage: string | undefined;
  let workspace: string | undefined;
  for (let at = path.resolve(from); ; at = path.dirname(at)) {
    if (existsSync(path.join(at, directoryName))) return path.join(at, directoryName);
    if (existsSync(path.join(at, 'package.json'))) {
      nearestPackage ??= at;
      if (isWorkspaceRoot(at)) workspace ??= at;
    }
    if (path.dirname(at) === at) break;
  }
  return path.join(workspace ?? nearestPackage ?? from, directoryName);
}

function isWorkspaceRoot(directory: string): boolean {
  if (existsSync(path.join(directory, 'pnpm-workspace.yaml'))) return true;
  try {
    const manifest = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8')) as { workspaces?: unknown };
    return manifest.workspaces !== undefined;
  } catch {
    return false;
  }
}
