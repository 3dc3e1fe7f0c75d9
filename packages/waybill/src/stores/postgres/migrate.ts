/**
 * Brings the schema up to date. In go a client and a service's name; out comes a schema that is this service's, with its
 * tables in this version's format. All of it is one transaction behind an advisory lock, so that of several starting at
 * once one migrates and the others wait; a crash in between leaves what was before.
 */
import { WaybillError } from '../../contract/errors.ts';
import type { Client, Statements } from './port.ts';
import { textValues } from './port.ts';
import { formatNow, quoted, statementsFrom } from './schema.ts';

export interface MigrateOptions {
  readonly schema: string;
  readonly service: string;
  readonly migrate: 'auto' | 'check';
}

/** @throws WaybillError `STORE_FOREIGN`, `STORE_NEWER`, `STORE_NOT_MIGRATED` */
export async function migrate(client: Client, options: MigrateOptions): Promise<void> {
  const found = await identity({ query: (text, values) => client.query(text, textValues(values)) }, options.schema);
  check(found, options);
  if (found?.format === formatNow) return;
  if (options.migrate === 'check') throw notMigrated(options.schema, found?.format ?? 0);
  await client.transaction(async (open) => {
    const sql: Statements = { query: (text, values) => open.query(text, textValues(values)) };
    await sql.query(`select '' as locked from pg_advisory_xact_lock(hashtextextended($1::text, 0))`, [`waybill migrate ${options.schema}`]);
    const current = await identity(sql, options.schema); // another process may have been first
    check(current, options);
    if (current?.format === formatNow) return;
    // asked first: `create schema if not exists` needs the right to create one even where it exists
    const [there] = await sql.query('select nspname as name from pg_namespace where nspname = $1::text', [options.schema]);
    if (there === undefined) await open.execute(`create schema ${quoted(options.schema)}`);
    for (const statement of statementsFrom(quoted(options.schema), current?.format ?? 0)) await open.execute(statement);
    await open.execute(identify(quoted(options.schema)), [options.service, String(formatNow)]);
  });
}

const identify = (s: string): string => `insert into ${s}.identity (service, format) values ($1::text, $2::text::int)
  on conflict (one) do update set format = excluded.format`;

/**
 * The same as SQL text, for the user's own migration tool: everything from an empty database to this version's tables.
 * @param options `schema` default `waybill`; `service` the name that `createBus` gets; `from` the format that is there,
 *   default 0: none
 */
export function migrationSql(options: { readonly service: string; readonly schema?: string; readonly from?: number }): string {
  const { service, schema = 'waybill', from = 0 } = options;
  if (!Number.isInteger(from) || from < 0 || from > formatNow) {
    throw new WaybillError('INVALID_OPTION', `migrationSql: from must be a whole number from 0 to ${formatNow}`);
  }
  const s = quoted(schema);
  const name = `'${service.replaceAll("'", "''")}'`;
  return [
    'begin',
    ...(from === 0 ? [`create schema if not exists ${s}`] : []),
    ...statementsFrom(s, from),
    `insert into ${s}.identity (service, format) values (${name}, ${formatNow}) on conflict (one) do update set format = excluded.format`,
    'commit',
  ].map((statement) => `${statement};\n`).join('');
}

interface IdentityRow {
  readonly service: string;
  readonly format: number;
}

async function identity(sql: Statements, schema: string): Promise<IdentityRow | undefined> {
  // Asked of the catalogue: in a transaction, a table that is missing would end it. By a plain query: `to_regclass` answers
  // out of this connection's cache, which does not know yet what another process made while this one waited for the lock.
  const [table] = await sql.query(
    `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1::text and c.relname = 'identity'`,
    [schema],
  );
  if (table === undefined) return undefined;
  const [row] = await sql.query<{ service: string; format: string }>(`select service, format::text from ${quoted(schema)}.identity`);
  return row && { service: row.service, format: Number(row.format) };
}

function check(found: IdentityRow | undefined, { schema, service }: MigrateOptions): void {
  if (found === undefined) return;
  if (found.service !== service) {
    throw new WaybillError(
      'STORE_FOREIGN',
      `The schema ${schema} belongs to the service "${found.service}", and this one is "${service}": give each service a schema or a database of its own, or set \`service\` right.`,
    );
  }
  if (found.format > formatNow) {
    throw new WaybillError(
      'STORE_NEWER',
      `The schema ${schema} was migrated by a newer Waybill (format ${found.format}, this version reads up to ${formatNow}): update the package.`,
    );
  }
}

function notMigrated(schema: string, format: number): WaybillError {
  return new WaybillError(
    'STORE_NOT_MIGRATED',
    `The schema ${schema} has format ${format}, and this version needs ${formatNow}: run \`waybill migrate\`, or what \`migrationSql\` gives, or start once with \`migrate: 'auto'\`.`,
  );
}
