import type { BusOptions } from './contract/api.ts';
import { checkServiceName } from './contract/contracts.ts';
import { WaybillError } from './contract/errors.ts';
import { hopsDefault } from './contract/hops.ts';

const known = new Set([
  'service',
  'store',
  'transport',
  'relay',
  'migrate',
  'requireTransaction',
  'propagate',
  'logger',
  'horizonMs',
  'handleSignals',
  'accept',
  'hopsMax',
]);

const horizonDefaultMs = 7 * 86_400_000;
const horizonMinMs = 60_000;

/** Options with their defaults. @throws WaybillError `INVALID_OPTION`, `CAPABILITY_MISSING` */
export function checkOptions<Tx>(
  options: BusOptions<Tx>,
): BusOptions<Tx> & Required<Pick<BusOptions<Tx>, 'relay' | 'migrate' | 'propagate' | 'horizonMs' | 'handleSignals' | 'hopsMax'>> {
  const refuse = (why: string): never => {
    throw new WaybillError('INVALID_OPTION', `createBus: ${why}`);
  };
  if (typeof options !== 'object' || options === null) refuse("pass an object, { service: 'basket' } at least");
  for (const name of Object.keys(options)) if (!known.has(name)) refuse(`the option ${name} is not known`);
  checkServiceName(options.service);
  const { relay = 'inline', migrate = 'auto', propagate = [], horizonMs = horizonDefaultMs, handleSignals = false, hopsMax = hopsDefault } = options;
  if (!['inline', 'worker', 'log', 'off'].includes(relay)) refuse(`relay must be 'inline', 'worker', 'log' or 'off'`);
  if (!['auto', 'check'].includes(migrate)) refuse(`migrate must be 'auto' or 'check'`);
  if (!Array.isArray(propagate) || propagate.some((name) => typeof name !== 'string')) refuse('propagate must be a list of header names');
  if (!Number.isFinite(horizonMs) || horizonMs < horizonMinMs) refuse(`horizonMs must be a number of milliseconds from ${horizonMinMs} on`);
  if (!Number.isSafeInteger(hopsMax) || hopsMax < 1) refuse('hopsMax must be a whole number from 1 on');
  if (options.accept !== undefined && !Array.isArray(options.accept)) refuse("accept must be a list of findings, ['POSTGRES_FSYNC_OFF'] for instance");
  if (typeof handleSignals !== 'boolean') refuse('handleSignals must be true or false');
  if (options.requireTransaction !== undefined && typeof options.requireTransaction !== 'boolean') refuse('requireTransaction must be true or false');
  for (const name of ['store', 'transport'] as const) {
    const value: unknown = options[name];
    const open = name === 'store' ? 'open' : 'connect';
    const isDriver = typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[open] === 'function';
    if (value !== undefined && typeof value !== 'string' && !isDriver) refuse(`${name} must be a URL or what a driver's factory returned`);
  }
  const { logger } = options;
  if (logger !== undefined && (['debug', 'info', 'warn', 'error'] as const).some((level) => typeof logger?.[level] !== 'function')) {
    refuse('logger needs debug, info, warn and error, as pino has them');
  }
  return { ...options, relay, migrate, propagate, horizonMs, handleSignals, hopsMax };
}
