/**
 * What a service's subscriptions are in a directory: rows of its own file, made by its start. Told without that, and looked
 * at in the file as it is, by a connection that cannot write.
 */
import { DatabaseSync } from 'node:sqlite';
import { existsSync } from 'node:fs';
import { isControl } from '../../contract/control.ts';
import type { Entity, Seen } from '../../contract/topology.ts';
import type { Declaration, TopologyPlan } from '../../contract/transport.ts';
import { asStoreError } from '../../stores/sqlite/errors.ts';
import { ledgerFile } from './names.ts';

const sql = `select type from waybill_subscription where name = ? and stopped is null and dropped is null order by type`;

export function topologyIn(directory: string): TopologyPlan {
  return {
    entities: (_service, declarations) => declarations.flatMap(entityOf),
    look: async (entities, { service }) => lookAt(ledgerFile(directory, service), entities),
  };
}

/** Publishers' ledgers are read here: nobody is asked for them, or sends heartbeats. */
function entityOf({ name, bindings }: Declaration): Entity[] {
  const types = bindings.map(({ type }) => type).filter((type) => !isControl({ headers: { 'ce-type': type } }));
  if (types.length === 0) return [];
  return [{ kind: 'subscription', name, subscription: name, received: true, settings: { types: types.toSorted().join(' ') } }];
}

function lookAt(file: string, entities: readonly Entity[]): Seen[] {
  if (!existsSync(file)) return entities.map(() => ({ state: 'missing' }));
  let connection: DatabaseSync | undefined;
  try {
    connection = new DatabaseSync(file, { readOnly: true, timeout: 1_000 });
    if (connection.prepare(`select 1 from sqlite_master where name = 'waybill_subscription'`).get() === undefined) return entities.map(() => ({ state: 'missing' }));
    const types = connection.prepare(sql);
    return entities.map(({ name, settings }) => {
      const found = types.all(name).map(({ type }) => type).join(' ');
      if (found === '') return { state: 'missing' };
      return found === settings['types'] ? { state: 'there' } : { state: 'different', detail: `it takes ${found}` };
    });
  } catch (error) {
    throw asStoreError(error, file);
  } finally {
    connection?.close();
  }
}
