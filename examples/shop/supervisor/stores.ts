import { join } from 'node:path';
import { Advice, type DataFolder } from './data-folder.ts';
import type { ServiceName } from './messages.ts';

/**
 * Where a service keeps its data and how messages travel. By default everything is files in the data folder. `WAYBILL_STORE`
 * and `WAYBILL_TRANSPORT` name servers instead; each service has a database of its own there, called after the one in the
 * address: `postgres://localhost/shop` becomes `shop_catalog`, `shop_basket`, `shop_storefront`.
 */
export function busEnvironment(
  service: ServiceName,
  folder: DataFolder,
  env: NodeJS.ProcessEnv,
): { WAYBILL_STORE: string; WAYBILL_TRANSPORT: string } {
  return {
    WAYBILL_STORE: env['WAYBILL_STORE']
      ? ownDatabase(env['WAYBILL_STORE'], service)
      : `sqlite:${join(folder.bus, `${service}.db`)}`,
    WAYBILL_TRANSPORT: env['WAYBILL_TRANSPORT'] || `sqlite:${folder.bus}`,
  };
}

/** @throws Advice for an address that no shop of several processes can use */
export function checkAddresses(env: NodeJS.ProcessEnv): void {
  for (const name of ['WAYBILL_STORE', 'WAYBILL_TRANSPORT'] as const) {
    const address = env[name];
    if (!address) continue;
    if (address.startsWith('memory:'))
      throw new Advice(`${name} is memory:, which one process cannot share with another. Leave it out to use files.`);
    if (!address.startsWith('sqlite:') && !URL.canParse(address))
      throw new Advice(`${name} is no address. Leave it out to use files, or name a server.`);
  }
}

/** A `sqlite:` address names a folder, any other a database on a server. */
export function ownDatabase(address: string, service: ServiceName): string {
  if (address.startsWith('sqlite:')) return `sqlite:${join(address.slice('sqlite:'.length), `${service}.db`)}`;
  const url = new URL(address);
  url.pathname = `${url.pathname === '' ? '/' : url.pathname}_${service}`.replace('/_', '/shop_');
  return url.href;
}
