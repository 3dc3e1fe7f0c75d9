import { dirname } from 'node:path';
import { after, before } from 'node:test';
import { needs } from '../../../../test/support/needs.ts';
import { startPostgres, type PostgresServer } from '../support/postgres-server.ts';

const program = needs('postgres');
/** Why tests with a server are skipped here; false where they are not. */
export const skip: string | false = program.skip;

let started: Promise<PostgresServer> | undefined;

/** The server of this process's tests. */
export function sharedServer(): Promise<PostgresServer> {
  return (started ??= startPostgres({ bin: dirname(program.path!) }));
}
after(async () => (await started)?.close());

/** To be called in a `describe`: a database for its tests, with a table `thing`. */
export function database(): { readonly url: string; count(where?: string): Promise<number> } {
  let server: PostgresServer;
  let name: string;
  before(async () => {
    server = await sharedServer();
    name = await server.createDatabase();
    await server.query('create table thing (id bigint primary key, word text)', undefined, name);
  });
  return {
    get url() {
      return server.url(name);
    },
    async count(where = 'true') {
      return (await server.query(`select count(*)::int as n from thing where ${where}`, undefined, name)).rows[0].n as number;
    },
  };
}
