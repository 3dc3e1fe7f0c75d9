import { join } from 'node:path';
import type { DataFolder } from './data-folder.ts';
import type { ServiceName } from './messages.ts';

/**
 * Where a service keeps its data and how messages travel. By default everything is files in the data folder. `WAYBILL_STORE`
 * and `WAYBILL_TRANSPORT` name servers instead; each service has a database of its own there, called after the one in the
 * address: `postgres://localhost/shop` becomes `shop_catalog`, `shop_basket`, `shop_storefront`.
 */
export function busEnvironment(service: ServiceName, folder: DataFolder, env: NodeJS.ProcessEnv): { WAYBILL_STORE: string; WAYBILL_TRANSPORT: string } {
  return {
    WAYBILL_STORE: env['WAYBILL_STORE'] ? ownDatabase(env['WAYBILL_STORE'], service) : `sqlite:${join(folder.bus, `${service}.db`)}`,
    WAYBILL_TRANSPORT: env['WAYBILL_TRANSPORT'] || `sqlite:${folder.bus}`,
  };
}

/** A `sqlite:` address names a folder, any other a database on a server. */
export function ownDatabase(address: string, service: ServiceName): string {
  if (address.startsWith('sqlite:')) return `sqlite:${join(address.slice('sqlite:'.length), `${service}.db`)}`;
  const url = new URL(address);
  url.pathname = `${url.pathname === '' ? '/' : url.pathname}_${service}`.replace('/_', '/shop_');
  return url.href;
}
