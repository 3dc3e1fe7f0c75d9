import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Advice, dataPath, openDataFolder, type DataFolder } from './supervisor/data-folder.ts';
import { LEARN_MS, SERVICE_NAMES, startOrder, type ServiceName, type ToSupervisor } from './supervisor/messages.ts';
import { Progress } from './supervisor/progress.ts';
import { checkServers, nextStep } from './supervisor/servers.ts';
import { ServiceProcess } from './supervisor/service-process.ts';
import { busEnvironment, checkAddresses } from './supervisor/stores.ts';

/*
 * Starts the shop: one process per service, and this one, which watches over them.
 *
 *   SHOP_PORT          port of the storefront, default 8080; 0 takes a free one
 *   SHOP_HOST          address it listens on, default 127.0.0.1: the admin page asks nobody for a password
 *   SHOP_DATA          data folder, default .waybill-shop
 *   WAYBILL_STORE, WAYBILL_TRANSPORT    servers instead of files, see supervisor/stores.ts
 *   SHOP_CRASH_AT      for tests, see service/crash-point.ts
 */

const startedAt = performance.now();
const services = new Map<ServiceName, ServiceProcess>();
/** Those that keep a copy of the catalogue, and know it by now. */
const learned = new Set<ServiceName>();
const LEARNERS = ['basket', 'storefront'] as const;
/** Node keeps compiled code there, for whoever runs the same code next: a process starts three times as fast. */
const COMPILED = join(tmpdir(), 'node-compile-cache');
/** Called at each change of a service's state. */
const watchers = new Set<() => void>();
const progress = new Progress((text) => process.stdout.write(text));
let folder: DataFolder | undefined;
let leaving: Promise<never> | undefined;
let leavingSince = 0;

process.on('SIGINT', () => void leave(0));
process.on('SIGTERM', () => void leave(0));
// Whoever started it over a channel has gone: a test that was killed leaves no shop behind.
process.on('disconnect', () => void leave(0));
// Output that nobody reads any more must not end the shop before its services.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

try {
  await start();
} catch (error) {
  await leave(1, error instanceof Advice ? error.message : error);
}

async function start(): Promise<void> {
  const port = readPort(process.env['SHOP_PORT']);
  const host = process.env['SHOP_HOST'] || '127.0.0.1';
  checkAddresses(process.env);
  folder = openDataFolder(dataPath(process.env));
  await checkFree(port, host);
  await checkServers(process.env);

  const ran = new Set<ServiceName>();
  /** A free port that was taken once is kept, so that a process comes back where others look for it. */
  const ports = new Map<ServiceName, number>([['storefront', port]]);
  for (const name of SERVICE_NAMES) {
    const env = (): NodeJS.ProcessEnv => {
      const { SHOP_CRASH_AT: crashAt, ...inherited } = process.env;
      const address = { PORT: String(ports.get(name) ?? 0), HOST: name === 'storefront' ? host : '127.0.0.1' };
      const gateway = { GATEWAY_FILE: join(folder!.path, 'gateway.db'), GATEWAY_URL: `http://127.0.0.1:${ports.get('gateway')}` };
      const bus = busEnvironment(name, folder!, process.env);
      const every = { NODE_COMPILE_CACHE: COMPILED, ...inherited, ...bus, ...address, ...gateway };
      if (ran.has(name)) return every;
      ran.add(name);
      return { ...every, SHOP_CRASH_AT: crashAt };
    };
    const file = fileURLToPath(new URL(`./${name}/main.ts`, import.meta.url));
    services.set(name, new ServiceProcess({ name, file, env }, { changed: () => changed(name), said: hear, printed }));
  }

  progress.add('Starting');
  for (const together of startOrder(process.env['WAYBILL_TRANSPORT'])) {
    await Promise.all(
      together.map(async (name) => {
        await ready(name);
        progress.add(` ${name} ✓`);
        ports.set(name, Number(new URL(services.get(name)!.state.url!).port));
      }),
    );
  }
  await learnCatalogue();
  progress.breakOff();

  const { url } = services.get('storefront')!.state;
  const shop = url!.replace('127.0.0.1', 'localhost');
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  console.log(`The shop is open after ${seconds} s. Its data is in ${folder.path}

  Shop      ${shop}/
  Basket    ${shop}/basket
  Orders    ${shop}/orders
  Admin     ${shop}/admin     change prices, stop and kill services
  Behind    ${shop}/behind    how far each service is behind

Ctrl-C closes it.`);
}

/** Starts a service for the first time: when it dies meanwhile, something is wrong that a restart does not heal. */
async function ready(name: ServiceName): Promise<void> {
  const service = services.get(name)!;
  const died = new Promise<'died'>((resolve) => {
    watchers.add(() => void (['waiting', 'failed'].includes(service.state.state) && resolve('died')));
  });
  if ((await Promise.race([service.start(), died])) !== 'died') return;
  throw new Advice(`\n${name} does not start. It said:\n\n${service.lastLines}\n\n${nextStep(name, folder!, process.env)}`);
}

/** On the first day nothing can be bought before the others know what there is. */
async function learnCatalogue(): Promise<void> {
  const { token } = services.get('catalog')!;
  if (token === undefined) return;
  const all = new Promise<void>((resolve) => {
    watchers.add(() => LEARNERS.every((name) => learned.has(name)) && resolve());
  });
  for (const name of LEARNERS) services.get(name)!.say({ say: 'learn', token });
  await Promise.race([all, new Promise((resolve) => setTimeout(resolve, LEARN_MS).unref())]);
  progress.add(LEARNERS.every((name) => learned.has(name)) ? ' catalogue learned ✓' : ' catalogue still being learned …');
}

function changed(name: ServiceName): void {
  tellStorefront();
  const service = services.get(name);
  if (service?.state.state === 'failed') givenUp(service);
}

/** A service that dies whenever it is started needs somebody to look at it. */
function givenUp({ name, lastLines }: ServiceProcess): void {
  const what = `\n${name} died too often in a row and is not started again. It said:\n\n${lastLines}\n`;
  if (name === 'storefront') void leave(1, `${what}\nWithout it nobody gets in, so the shop closes.`);
  else console.error(`${what}\nThe others go on. Start it again on the admin page once you know why.`);
}

/** The storefront knows every process's state and address from here. */
function tellStorefront(): void {
  for (const watcher of watchers) watcher();
  services.get('storefront')?.say({ say: 'services', services: [...services.values()].map((service) => service.state) });
}

function hear(name: ServiceName, message: ToSupervisor): void {
  if (message.say === 'learned') learned.add(name);
  if (message.say === 'ask') void obey(message);
  else tellStorefront();
}

async function obey({ id, service: name, action }: Extract<ToSupervisor, { say: 'ask' }>): Promise<void> {
  const service = services.get(name)!;
  const answer = (error?: string): void =>
    services.get('storefront')!.say({ say: 'answer', id, ...(error === undefined ? {} : { error }) });
  try {
    // Killed for good, the storefront could not be asked to start again.
    if (action === 'kill' && name === 'storefront') service.crash();
    else await service[action]();
    answer();
  } catch (error) {
    answer((error as Error).message);
  }
}

function printed(name: ServiceName, line: string): void {
  if (leaving !== undefined) return;
  progress.breakOff();
  process.stderr.write(`[${name}] ${line}\n`);
}

/**
 * Stops every service and ends. Asked again, it kills them; not at once, for npm passes on a Ctrl-C that has reached this
 * process already.
 */
async function leave(code: number, reason?: unknown): Promise<never> {
  if (leaving && performance.now() - leavingSince > 1_000) for (const service of services.values()) void service.kill();
  leaving ??= (async () => {
    leavingSince = performance.now();
    if (reason !== undefined) console.error(reason);
    // The storefront first: it takes no more orders while the others finish theirs.
    await services.get('storefront')?.stop().catch(() => undefined);
    await Promise.allSettled([...services.values()].map((service) => service.stop()));
    folder?.release();
    process.exit(code);
  })();
  return await leaving;
}

function readPort(value: string | undefined): number {
  const port = Number(value || 8080);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Advice(`SHOP_PORT is ${JSON.stringify(value)}, which is no port. Name one from 1 to 65535: SHOP_PORT=8081 npm start`);
}

async function checkFree(port: number, host: string): Promise<void> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new Advice(
          error.code === 'EADDRINUSE'
            ? `Port ${port} is taken. Stop what uses it, or name another: SHOP_PORT=${port + 1} npm start`
            : `The shop cannot listen on ${host}:${port} (${error.message}). Name another: SHOP_HOST=127.0.0.1 SHOP_PORT=8081 npm start`,
        ),
      ),
    );
    probe.listen(port, host, () => probe.close(() => resolve()));
  });
}
