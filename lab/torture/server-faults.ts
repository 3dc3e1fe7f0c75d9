/** What goes wrong with servers, and with the way to them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { steps } from '../../packages/waybill/test/azure-service-bus/stand-in/faults.ts';
import type { Ground } from './ground.ts';

export interface Fault {
  readonly weight: number;
  /** Faults of one place exclude each other. */
  readonly place: string;
  /** Else the run means nothing. @default false: it may meet another one */
  readonly mustStrike?: boolean;
  /** Resolves when it is healed. */
  strike(): Promise<void>;
}

export type Between = (min: number, max: number) => number;
type Faults = Record<string, Fault>;

/** A quorum queue younger than this does not outlive its node (RabbitMQ 3.10): no broker dies before. */
export const warmUpMs = 4_000;
/** A long run has a long throttling in it. */
const longSeconds = 240;
const minuteMs = 60_000;

export interface ServerFaultsOptions {
  readonly between: Between;
  /** Servers that were killed are away for so long at most. */
  readonly outageMaxMs: number;
  readonly seconds: number;
}

export function serverFaults({ postgres, rabbit, azure }: Pick<Ground, 'postgres' | 'rabbit' | 'azure'>, options: ServerFaultsOptions): Faults {
  return {
    ...(postgres && postgresFaults(postgres.server, options)),
    ...(rabbit && rabbitFaults(rabbit.server, options)),
    ...(azure && azureFaults(azure.server, options)),
  };
}

function at(place: string): (strike: () => Promise<unknown>, weight?: number) => Fault {
  return (strike, weight = 1) => ({ weight, place, strike: async () => void (await strike()) });
}

async function away(server: { kill(): Promise<void>; start(): Promise<void> }, forMs: number): Promise<void> {
  await server.kill();
  await sleep(forMs);
  await server.start();
}

async function frozen(server: { signal(name: 'SIGSTOP' | 'SIGCONT'): Promise<void> | void }, forMs: number): Promise<void> {
  await server.signal('SIGSTOP');
  await sleep(forMs);
  await server.signal('SIGCONT');
}

export function proxyFaults(what: string, proxy: NonNullable<Ground['postgres']>['proxy'], between: Between): Faults {
  const fault = at(`${what}'s network`);
  return {
    [`${what}: connections cut`]: fault(async () => proxy.cut()),
    [`${what}: connections reset`]: fault(async () => proxy.reset()),
    [`${what}: cut after n bytes`]: fault(async () => {
      proxy.cutAfterBytes = between(2_000, 50_000);
      await sleep(1_000);
      proxy.cutAfterBytes = Infinity;
    }),
    [`${what}: half-open`]: fault(async () => {
      proxy.mode = 'swallow';
      await sleep(between(300, 1_500));
      proxy.mode = 'pass';
      proxy.cut();
    }),
    [`${what}: nothing gets through for a while`]: fault(async () => {
      proxy.mode = 'stall';
      await sleep(between(500, 12_000));
      proxy.mode = 'pass';
    }),
    [`${what}: nobody listens`]: fault(async () => {
      proxy.mode = 'refuse';
      proxy.cut();
      await sleep(between(200, 3_000));
      proxy.mode = 'pass';
    }),
    [`${what}: delay`]: fault(async () => {
      proxy.delayMs = between(5, 60);
      await sleep(between(500, 2_000));
      proxy.delayMs = 0;
    }),
  };
}

function postgresFaults(server: NonNullable<Ground['postgres']>['server'], { between, outageMaxMs }: ServerFaultsOptions): Faults {
  const fault = at('database');
  return {
    'database: backends terminated': fault(() => server.query('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and random() < 0.3'), 2),
    'database: backend killed': fault(async () => {
      const all = server.children();
      const victim = all[Math.floor(between(0, all.length))];
      if (victim !== undefined) process.kill(victim, 'SIGKILL'); // the whole server recovers from it
    }),
    'database: server killed': fault(() => away(server, between(0, outageMaxMs))),
  };
}

function rabbitFaults(server: NonNullable<Ground['rabbit']>['server'], { between, outageMaxMs }: ServerFaultsOptions): Faults {
  const fault = at('broker');
  return {
    'broker: killed': fault(async () => {
      await away(server, between(0, outageMaxMs));
      await sleep(warmUpMs);
    }),
    'broker: frozen': fault(() => frozen(server, between(300, 4_000))),
    'broker: memory alarm': fault(async () => {
      await server.ctl('set_vm_memory_high_watermark', 'absolute', '1MB');
      await sleep(between(500, 4_000));
      await server.ctl('set_vm_memory_high_watermark', 'absolute', '512MB');
    }),
  };
}

function azureFaults(server: NonNullable<Ground['azure']>['server'], { between, outageMaxMs, seconds }: ServerFaultsOptions): Faults {
  const fault = at('broker');
  const throttled = (minMs: number, maxMs: number): Fault =>
    at('throttling')(async () => {
      server.order({ do: 'throttle' });
      await sleep(between(minMs, maxMs));
      server.order({ do: 'serve' });
    });
  return {
    'broker: killed': fault(() => away(server, between(0, outageMaxMs))),
    'broker: frozen': fault(() => frozen(server, between(300, 4_000))),
    'broker: all connections cut': fault(async () => server.order({ do: 'cut all' })),
    'broker: all locks run out': fault(async () => server.order({ do: 'expire locks' })),
    'broker: all tokens end': fault(async () => server.order({ do: 'expire tokens' })),
    'broker: throttled': throttled(300, 4_000),
    ...(seconds >= longSeconds && { 'broker: throttled for a minute': throttled(minuteMs, minuteMs) }),
    ...Object.fromEntries(
      steps.map((step) => [
        `broker: cut at ${step}`,
        fault(async () => {
          if (step === 'attach' || step === 'token') server.order({ do: 'cut all' }); // asked for only by who has lost its connection
          server.order({ do: 'cut at', step, chance: 0.2, times: 3 });
          await sleep(between(500, 2_000));
          server.order({ do: 'cut no more' });
        }),
      ]),
    ),
  };
}
