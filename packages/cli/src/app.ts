/** From `--app ./src/bus.ts` to the service's bus, which is not started here. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Bus } from 'waybill';
import { UsageError } from './exit.ts';

/** Exports that are looked for, the first one first. */
const names = ['bus', 'default'] as const;

/**
 * Imports the module and takes its bus: the export named after `#`, else `bus`, else the default one; or what such a
 * function returns.
 * @throws UsageError when there is no such module or no bus in it
 */
export async function loadBus(app: string, folder: string = process.cwd()): Promise<Bus<any>> {
  const [path = '', name] = app.split('#', 2);
  const file = resolve(folder, path);
  if (path === '' || !existsSync(file)) throw new UsageError(`--app ${app}: there is no such file; name the module that exports the bus, for instance ./src/bus.ts`);
  const module = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  const found = (name === undefined ? names : [name]).map((one) => module[one]).find((one) => one !== undefined);
  const bus: unknown = typeof found === 'function' ? await (found as () => unknown)() : found;
  if (isBus(bus)) return bus;
  throw new UsageError(`--app ${app}: the module exports no bus${name === undefined ? ': export it as `bus` or by default' : ` as ${name}`}, or a function that returns one`);
}

function isBus(value: unknown): value is Bus<any> {
  const { subscribe, publish, stop } = (value ?? {}) as Partial<Bus<any>>;
  return [subscribe, publish, stop].every((member) => typeof member === 'function');
}
