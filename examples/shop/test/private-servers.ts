import { dirname } from 'node:path';
import { startPostgres, type PostgresServer } from '../../../packages/waybill/test/support/postgres-server.ts';
import { rabbitServer, type RabbitServer } from '../../../packages/waybill/test/support/rabbitmq-server.ts';
import { needs } from '../../../test/support/needs.ts';
import { SERVICE_NAMES } from '../supervisor/messages.ts';

/** A PostgreSQL and a RabbitMQ of one's own, with what a shop needs on them; they may be killed. */
export interface PrivateServers extends AsyncDisposable {
  readonly env: { readonly WAYBILL_STORE: string; readonly WAYBILL_TRANSPORT: string };
  readonly postgres: PostgresServer;
  readonly rabbit: RabbitServer;
}

/** Why there can be none here; false when there can. */
export const lackServers: string | false = needs('rabbitmq').skip || needs('postgres').skip;

export async function privateServers(): Promise<PrivateServers> {
  const [rabbit, postgres] = await Promise.all([rabbitServer(), startPostgres({ bin: dirname(needs('postgres').path!) })]);
  for (const name of SERVICE_NAMES) await postgres.query(`create database shop_${name}`);
  return {
    env: { WAYBILL_STORE: postgres.url('shop'), WAYBILL_TRANSPORT: rabbit.url },
    postgres,
    rabbit,
    async [Symbol.asyncDispose]() {
      await Promise.all([rabbit.close(), postgres.close()]);
    },
  };
}
