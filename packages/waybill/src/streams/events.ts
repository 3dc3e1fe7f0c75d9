/** Between an event as users know it and as it is stored. */
import type { Clock } from '../contract/clock.ts';
import { type ContractDefinition, type EventContract, definitionOf } from '../contract/contracts.ts';
import { WaybillError, asError } from '../contract/errors.ts';
import type { StoredEvent } from '../contract/streams.ts';
import { readVersion, versionsOf } from '../contract/versions.ts';

/** An event read from a stream; `name` narrows `data`. */
export type EventIn<Contracts extends readonly EventContract[]> = RecordedEvent<Contracts[number]>;

/** What a stream holds of one contract: its data as the schema's output, whatever version was stored. */
export type RecordedEvent<C> =
  C extends EventContract<infer Name, any, infer Output, any>
    ? {
        readonly name: Name;
        readonly data: Output;
        readonly id: string;
        readonly stream: string;
        /** Its number in the stream, from 1. */
        readonly version: number;
        /** The type that was stored, `${name}.v${version}`: perhaps an older one. */
        readonly type: string;
        readonly time: Date;
        readonly correlationId: string;
        readonly causationId: string | undefined;
        readonly headers: Readonly<Record<string, string>>;
      }
    : never;

/** How stored types become what these contracts say. */
export interface Reading {
  readonly types: ReadonlySet<string>;
  /** @throws WaybillError `EVENT_UNREADABLE` */
  read(stored: StoredEvent): Promise<RecordedEvent<any>>;
}

/** @throws WaybillError `INVALID_CONTRACT`, `INVALID_OPTION` when two of them read one type */
export function readingOf(contracts: readonly unknown[], clock: () => Clock): Reading {
  const routes = new Map<string, { readonly contract: ContractDefinition; readonly steps: readonly ContractDefinition[] }>();
  for (const given of contracts) {
    const contract = definitionOf(given);
    if (contract.kind !== 'event') throw new WaybillError('INVALID_CONTRACT', `${contract.type} is a command: a stream holds events`);
    const versions = versionsOf(contract);
    versions.forEach((version, i) => {
      if (routes.has(version.type)) throw new WaybillError('INVALID_OPTION', `events: two contracts read ${version.type}; list the newest alone`);
      routes.set(version.type, { contract, steps: versions.slice(0, i + 1).reverse() });
    });
  }

  return {
    types: new Set(routes.keys()),
    async read(stored) {
      const { stream, version, type, id, correlationId, causationId, headers } = stored;
      const where = `event ${version} of ${stream}`;
      const route = routes.get(type);
      if (!route) throw new WaybillError('EVENT_UNREADABLE', `${where} is a ${type}, which no contract here reads: add it to \`events\``);
      let data: unknown;
      try {
        data = await readVersion(route.steps, stored.body, { type, from: where, clock: clock() });
      } catch (cause) {
        throw new WaybillError('EVENT_UNREADABLE', `${where} (${type}): ${asError(cause).message}`, { cause });
      }
      const name = route.contract.name;
      return { name, data, id, stream, version, type, time: new Date(stored.timeMs), correlationId, causationId, headers };
    },
  };
}
