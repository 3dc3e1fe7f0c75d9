import { posix } from 'node:path';
import { importsOf, type Import } from './imports.ts';

/** The steps of a message's journey. They do not know each other; they meet in `bus.ts`. */
export const ROOMS = [
  'publish', 'outbox', 'relay', 'inbox', 'handle', 'waiting', 'failures', 'once', 'security', 'freshness', 'saga', 'streams',
] as const;

/** Folders that hold one driver per entry: `stores/sqlite/…`, `formats/cloudevents.ts`. */
const DRIVER_FOLDERS = ['transports', 'stores', 'clients', 'formats'] as const;

/** Places that are one file, or one folder, directly under `src`. */
const SINGLE_PLACES = ['index', 'bus', 'wiring', 'options', 'drivers', 'contract', 'observe', 'operations', 'testing'] as const;

export interface Rule {
  /** The place that the rule speaks of; `x/*` is each entry of a folder, never its siblings. */
  readonly place: string;
  /** Places that it may name, besides itself. */
  readonly may: readonly string[];
  /** Places that it may load by `import()` and in no other way. */
  readonly mayLoad?: readonly string[];
  /** Packages of others may be named by `import type`. */
  readonly thirdPartyTypes?: true;
  /** Packages that the user brings: loaded by `import()` where a URL asks for them. */
  readonly brought?: readonly string[];
}

/** Who may import whom in `packages/waybill/src`. The first rule whose place fits holds. */
export const RULES: readonly Rule[] = [
  { place: 'contract', may: [] },
  { place: 'observe', may: ['contract'] },
  ...ROOMS.map((place) => ({ place, may: ['contract', 'observe'], ...(place === 'waiting' && { brought: ['croner'] }) })),
  // These two transports are made of a store's own tables.
  { place: 'transports/sqlite', may: ['contract', 'stores/sqlite'], thirdPartyTypes: true },
  { place: 'transports/postgres', may: ['contract', 'stores/postgres'], thirdPartyTypes: true },
  { place: 'transports/azure-service-bus', may: ['contract'], thirdPartyTypes: true, brought: ['@azure/service-bus'] },
  { place: 'transports/rabbitmq', may: ['contract'], thirdPartyTypes: true, brought: ['amqplib'] },
  { place: 'transports/*', may: ['contract'], thirdPartyTypes: true },
  { place: 'stores/postgres', may: ['contract', 'clients/*'], thirdPartyTypes: true, brought: ['pg'] },
  { place: 'stores/*', may: ['contract', 'clients/*'], thirdPartyTypes: true },
  // The libraries do not know each other; what they share stands in `clients/client`, who is who in `clients/recognise`.
  { place: 'clients/client', may: ['contract'] },
  { place: 'clients/supported', may: [] },
  { place: 'clients/recognise', may: ['contract', 'clients/*'] },
  { place: 'clients/*', may: ['contract', 'clients/client'], thirdPartyTypes: true },
  { place: 'formats/*', may: ['contract'], thirdPartyTypes: true },
  // The contract for its error: a URL that no driver knows must be refused with a code.
  { place: 'drivers', may: ['contract'], mayLoad: ['transports/*', 'stores/*', 'clients/*', 'formats/*'] },
  // The bus stands in three files: what users ask, what they may ask, and the joining of the rooms. No other knows the rooms.
  { place: 'bus', may: ['contract', 'observe', ...ROOMS, 'drivers', 'formats/cloudevents', 'options', 'wiring'] },
  { place: 'wiring', may: ['contract', 'observe', ...ROOMS, 'drivers', 'formats/cloudevents', 'options'] },
  { place: 'options', may: ['contract'] },
  { place: 'operations', may: ['contract'] },
  // The saga for `defineSaga`: what users define. Never a driver, so that the root .d.ts names no type of others.
  { place: 'index', may: ['bus', 'contract', 'saga'] },
  // The wiring for the ground that it replaces, the drivers' loader for URLs; saga and streams for what users of them define.
  { place: 'testing', may: ['contract', 'observe', 'bus', 'wiring', 'saga', 'streams', 'drivers', 'transports/memory', 'transports/sqlite', 'stores/memory', 'stores/sqlite'] },
];

/**
 * Holds one file of `packages/waybill/src` against the rules.
 * @param file path below `src`, with slashes
 * @returns one sentence per violation, empty when there is none
 */
export function violations(file: string, source: string): string[] {
  if (isTest(file)) return [];
  const place = placeOf(file);
  const rule = RULES.find((candidate) => fits(candidate.place, place));
  if (!rule) return [`${file}: stands in no place that the import rules know`];
  return importsOf(file, source).flatMap((found) => {
    const fault = faultOf(file, place, rule, found);
    return fault === undefined ? [] : [`${file}:${found.line}: ${fault}`];
  });
}

/** The place a file stands in: `stores/sqlite`, `publish`, `bus`. */
export function placeOf(file: string): string {
  const [first = '', second = ''] = file.split('/');
  if ((DRIVER_FOLDERS as readonly string[]).includes(first) && second !== '') return `${first}/${withoutExtension(second)}`;
  const name = withoutExtension(first);
  return ([...SINGLE_PLACES, ...ROOMS] as readonly string[]).includes(name) ? name : '?';
}

function faultOf(file: string, place: string, rule: Rule, { kind, specifier }: Import): string | undefined {
  if (specifier === undefined) return 'a computed import cannot be checked; name the file';
  if (specifier.startsWith('node:')) return undefined;
  if (kind === 'type' && specifier === 'node') return undefined; // /// <reference types="node" />
  if (!specifier.startsWith('.')) {
    if (kind === 'type' && rule.thirdPartyTypes) return undefined;
    if (kind === 'dynamic' && rule.brought?.includes(specifier)) return undefined;
    return kind === 'type'
      ? `${rule.place} may not name a type of the package '${specifier}'`
      : `the library has no runtime dependencies, but loads '${specifier}'`;
  }
  const target = posix.join(posix.dirname(file), specifier);
  if (target.startsWith('..')) return `'${specifier}' leaves src`;
  if (isTest(target)) return `'${specifier}' is a test; only tests import tests`;
  const targetPlace = placeOf(target);
  if (targetPlace === place) return undefined;
  if (rule.may.some((allowed) => fits(allowed, targetPlace))) return undefined;
  if (rule.mayLoad?.some((allowed) => fits(allowed, targetPlace))) {
    return kind === 'dynamic' ? undefined : `${rule.place} may load ${targetPlace} by import() only`;
  }
  return `${rule.place} may not import ${targetPlace === '?' ? target : targetPlace}`;
}

/**
 * Holds one file of a workspace beside the library (dashboard, command line, examples, benchmarks) against its rule:
 * the library's published subpaths only, and nothing of another workspace's folder.
 * @param workspace its folder below the root: `examples/shop`
 * @param file path below the root, with slashes
 * @param published the keys of the library's `exports`
 */
export function outsideViolations(workspace: string, file: string, source: string, published: readonly string[]): string[] {
  if (isTest(file) || file.startsWith(`${workspace}/test/`)) return [];
  return importsOf(file, source).flatMap(({ specifier, line }) => {
    if (specifier === undefined) return [];
    if (specifier === 'waybill' || specifier.startsWith('waybill/')) {
      const subpath = specifier.replace('waybill', '.');
      return published.includes(subpath) ? [] : [`${file}:${line}: '${specifier}' is not published`];
    }
    if (!specifier.startsWith('.')) return [];
    const target = posix.join(posix.dirname(file), specifier);
    return target.startsWith(`${workspace}/`) ? [] : [`${file}:${line}: '${specifier}' leaves ${workspace}; use published subpaths`];
  });
}

function fits(pattern: string, place: string): boolean {
  return pattern.endsWith('/*') ? place.startsWith(pattern.slice(0, -1)) : pattern === place;
}

function isTest(file: string): boolean {
  return file.endsWith('.test.ts');
}

function withoutExtension(name: string): string {
  return name.replace(/\.ts$/, '');
}
