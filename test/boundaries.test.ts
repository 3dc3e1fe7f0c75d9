import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { outsideViolations, placeOf, ROOMS, RULES, violations } from './support/import-rules.ts';
import { importsOf } from './support/imports.ts';
import { ROOT } from './support/run.ts';

const SRC = join(ROOT, 'packages/waybill/src');
const PUBLISHED = Object.keys((JSON.parse(await readFile(join(ROOT, 'packages/waybill/package.json'), 'utf8')) as { exports: object }).exports);

/** Per rule: a file that breaks it and a file that keeps it. Nothing of this stands on the disk. */
const SAMPLES: Record<string, { breaks: readonly Sample[]; keeps: readonly Sample[] }> = {
  contract: {
    breaks: [
      ['contract/clock.ts', `import { emit } from '../observe/signals.ts';`],
      ['contract/message.ts', `export type { Bus } from '../bus.ts';`],
    ],
    keeps: [['contract/message.ts', `import { now } from './clock.ts';`]],
  },
  observe: {
    breaks: [['observe/signals.ts', `import { relay } from '../relay/relay.ts';`]],
    keeps: [['observe/signals.ts', `import type { Message } from '../contract/message.ts';`]],
  },
  ...Object.fromEntries(
    ROOMS.map((room, i) => {
      const sibling = ROOMS[(i + 1) % ROOMS.length];
      return [
        room,
        {
          breaks: [
            [`${room}/main.ts`, `import { step } from '../${sibling}/main.ts';`],
            [`${room}/main.ts`, `import type { Bus } from '../bus.ts';`],
            [`${room}/deep/main.ts`, `import { sqlite } from '../../stores/sqlite/index.ts';`],
          ],
          keeps: [[`${room}/main.ts`, `import { WaybillError } from '../contract/errors.ts';\nimport { emit } from '../observe/signals.ts';\nimport { part } from './part.ts';`]],
        },
      ];
    }),
  ),
  'transports/sqlite': {
    breaks: [
      ['transports/sqlite/index.ts', `import { memory } from '../memory/index.ts';`],
      ['transports/sqlite/index.ts', `import { postgres } from '../../stores/postgres/index.ts';`],
    ],
    keeps: [['transports/sqlite/index.ts', `import { ledger } from '../../stores/sqlite/ledger.ts';`]],
  },
  'transports/postgres': {
    breaks: [['transports/postgres/index.ts', `import { ledger } from '../../stores/sqlite/ledger.ts';`]],
    keeps: [['transports/postgres/index.ts', `import { ledger } from '../../stores/postgres/ledger.ts';`]],
  },
  'transports/azure-service-bus': {
    breaks: [
      ['transports/azure-service-bus/index.ts', `import { settle } from '../rabbitmq/settle.ts';`],
      ['transports/azure-service-bus/index.ts', `const { connect } = await import('amqplib');`],
    ],
    keeps: [['transports/azure-service-bus/index.ts', `import type * as Sdk from '@azure/service-bus';\nconst sdk = await import('@azure/service-bus');`]],
  },
  'transports/rabbitmq': {
    breaks: [
      ['transports/rabbitmq/index.ts', `import { memory } from '../memory/index.ts';`],
      ['transports/rabbitmq/client.ts', `import { connect } from 'amqplib';`],
    ],
    keeps: [['transports/rabbitmq/client.ts', `import { sleep } from '../../contract/clock.ts';\nconst amqplib = await import('amqplib');`]],
  },
  'transports/*': {
    breaks: [
      ['transports/memory/index.ts', `import { sqlite } from '../../stores/sqlite/index.ts';`],
      ['transports/rabbitmq/index.ts', `import { settle } from '../nats/settle.ts';`],
    ],
    keeps: [['transports/rabbitmq/index.ts', `import type { Transport } from '../../contract/transport.ts';\nimport type { Channel } from 'amqplib';`]],
  },
  'stores/postgres': {
    breaks: [
      ['stores/postgres/index.ts', `import { migrate } from '../sqlite/migrations.ts';`],
      ['stores/postgres/index.ts', `const { createPool } = await import('mysql2');`],
    ],
    keeps: [['stores/postgres/index.ts', `import { kysely } from '../../clients/kysely.ts';\nimport type { Pool } from 'pg';\nconst pg = await import('pg');`]],
  },
  'stores/*': {
    breaks: [
      ['stores/mariadb/index.ts', `import { migrate } from '../sqlite/migrations.ts';`],
      ['stores/sqlite/index.ts', `import { deliver } from '../../transports/sqlite/deliver.ts';`],
    ],
    keeps: [['stores/mariadb/index.ts', `import { kysely } from '../../clients/kysely.ts';\nimport type { Pool } from 'mysql2';`]],
  },
  'clients/client': {
    breaks: [
      ['clients/client/port.ts', `import { pg } from '../pg.ts';`],
      ['clients/client/port.ts', `import type { Pool } from 'pg';`],
    ],
    keeps: [['clients/client/port.ts', `import { WaybillError } from '../../contract/errors.ts';`]],
  },
  'clients/supported': {
    breaks: [['clients/supported.ts', `import type { Pool } from 'pg';`]],
    keeps: [['clients/supported.ts', `export type A = 1;`]],
  },
  'clients/recognise': {
    breaks: [['clients/recognise.ts', `import { postgres } from '../stores/postgres/index.ts';`]],
    keeps: [['clients/recognise.ts', `import { pg } from './pg.ts';\nimport type { Client } from './client/port.ts';`]],
  },
  'clients/*': {
    breaks: [
      ['clients/kysely.ts', `import { pg } from './pg.ts';`],
      ['clients/kysely.ts', `import { clientOf } from './recognise.ts';`],
    ],
    keeps: [['clients/kysely.ts', `import type { Transaction } from 'kysely';\nimport type { SqlTransaction } from '../contract/transaction.ts';`]],
  },
  'formats/*': {
    breaks: [['formats/masstransit.ts', `import { parse } from './cloudevents.ts';`]],
    keeps: [['formats/cloudevents.ts', `import type { Message } from '../contract/message.ts';`]],
  },
  drivers: {
    breaks: [
      ['drivers.ts', `import { sqlite } from './stores/sqlite/index.ts';`],
      ['drivers.ts', `export { sqlite } from './stores/sqlite/index.ts';`],
      ['drivers.ts', `const bus = await import('./bus.ts');`],
    ],
    keeps: [['drivers.ts', `import { WaybillError } from './contract/errors.ts';\nexport const open = async () => (await import('./stores/sqlite/index.ts')).sqlite();`]],
  },
  bus: {
    breaks: [
      ['bus.ts', `import { sqlite } from './stores/sqlite/index.ts';`],
      ['bus.ts', `const { sqlite } = await import('./stores/sqlite/index.ts');`],
      ['bus.ts', `import { masstransit } from './formats/masstransit.ts';`],
      ['bus.ts', `import { createTestBus } from './testing/index.ts';`],
    ],
    keeps: [['bus.ts', `import { relay } from './relay/relay.ts';\nimport { open } from './drivers.ts';\nimport { cloudevents } from './formats/cloudevents.ts';`]],
  },
  wiring: {
    breaks: [
      ['wiring.ts', `import { memory } from './transports/memory/index.ts';`],
      ['wiring.ts', `import { createBus } from './bus.ts';`],
    ],
    keeps: [['wiring.ts', `import { relay } from './relay/relay.ts';\nimport { open } from './drivers.ts';`]],
  },
  options: {
    breaks: [['options.ts', `import { relay } from './relay/relay.ts';`]],
    keeps: [['options.ts', `import { WaybillError } from './contract/errors.ts';`]],
  },
  operations: {
    breaks: [
      ['operations/index.ts', `import type { Bus } from '../bus.ts';`],
      ['operations/index.ts', `import { park } from '../failures/park.ts';`],
    ],
    keeps: [['operations/index.ts', `import type { Inspect } from '../contract/inspect.ts';`]],
  },
  index: {
    breaks: [
      ['index.ts', `export { sqlite } from './stores/sqlite/index.ts';`],
      ['index.ts', `export type { SqliteOptions } from './stores/sqlite/index.ts';`],
      ['index.ts', `export { open } from './drivers.ts';`],
      ['index.ts', `export { createWiring } from './wiring.ts';`],
      ['index.ts', `export { createTestBus } from './testing/index.ts';`],
    ],
    keeps: [['index.ts', `export { createBus } from './bus.ts';\nexport { defineEvent } from './contract/contracts.ts';`]],
  },
  testing: {
    breaks: [
      ['testing/index.ts', `import { postgres } from '../stores/postgres/index.ts';`],
      ['testing/index.ts', `import { relay } from '../relay/relay.ts';`],
    ],
    keeps: [['testing/index.ts', `import { createBus } from '../bus.ts';\nimport { memory } from '../transports/memory/index.ts';\nimport { sqlite } from '../stores/sqlite/index.ts';`]],
  },
};

type Sample = readonly [file: string, source: string];

/** What every file of the library must keep, wherever it stands. */
const EVERYWHERE: readonly { rule: string; breaks: readonly Sample[] }[] = [
  {
    rule: 'no package of others is loaded',
    breaks: [
      ['contract/schema.ts', `import { z } from 'zod';`],
      // what the user may bring is loaded when it is asked for, and where the rule says
      ['waiting/recurrence.ts', `import { Cron } from 'croner';`],
      ['saga/saga.ts', `const { Cron } = await import('croner');`],
      ['stores/postgres/index.ts', `import pg from 'pg';`],
      ['stores/postgres/index.ts', `import { type Pool } from 'pg';`], // verbatimModuleSyntax leaves `import 'pg'`
      ['stores/postgres/index.ts', `export * from 'pg';`],
      ['stores/postgres/index.ts', `import 'pg';`],
      ['stores/sqlite/index.ts', `const pg = await import('pg');`],
      ['stores/postgres/index.ts', `const pg = require('pg');`],
      ['stores/postgres/index.ts', `const pg = require.resolve('pg');`],
      ['stores/sqlite/index.ts', `import { readFile } from 'fs';`], // builtins by their node: name only
      ['bus.ts', `import { defineEvent } from 'waybill';`],
    ],
  },
  {
    rule: 'types of others stand in driver folders only',
    breaks: [
      ['contract/schema.ts', `import type { StandardSchemaV1 } from '@standard-schema/spec';`],
      ['bus.ts', `export type Pool = import('pg').Pool;`],
      ['index.ts', `/// <reference types="pg" />`],
    ],
  },
  {
    rule: 'no import is computed',
    breaks: [
      ['drivers.ts', `export const open = (name: string) => import(\`./stores/\${name}/index.ts\`);`],
      ['drivers.ts', `export const open = (name: string) => import(name);`],
    ],
  },
  { rule: 'no import leaves src', breaks: [['index.ts', `import manifest from '../package.json' with { type: 'json' };`]] },
  { rule: 'no file outside the tests imports a test', breaks: [['relay/relay.ts', `import { sample } from './relay.test.ts';`]] },
  {
    rule: 'every file stands in a known place',
    breaks: [
      ['utils/time.ts', ''],
      ['helpers.ts', ''],
      ['relay/relay.ts', `import { sleep } from '../utils/time.ts';`],
    ],
  },
];

describe('the import rules', () => {
  it('hold in every file of packages/waybill/src', async () => {
    const files = await sources(SRC);
    const found = (await Promise.all(files.map(async (file) => violations(file, await readFile(join(SRC, file), 'utf8'))))).flat();
    assert.deepEqual(found, []);
  });

  it('see the files and the imports that are there', async (t) => {
    const files = await sources(SRC);
    if (files.length === 0) return t.skip('packages/waybill/src is empty');
    const imports = await Promise.all(files.map(async (file) => importsOf(file, await readFile(join(SRC, file), 'utf8'))));
    assert.ok(imports.flat().length >= files.length / 2, `${imports.flat().length} imports in ${files.length} files`);
  });

  it('let a package that the user brings be loaded when it is asked for', () => {
    assert.deepEqual(violations('waiting/recurrence.ts', `const { Cron } = await import('croner');`), []);
  });

  it('have a sample for each rule', () => {
    assert.deepEqual(Object.keys(SAMPLES).sort(), RULES.map((rule) => rule.place).sort());
  });

  for (const { place } of RULES) {
    const { breaks, keeps } = SAMPLES[place] ?? { breaks: [], keeps: [] };
    it(`report what ${place} may not import`, () => {
      assert.ok(breaks.length > 0);
      for (const [file, source] of breaks) assert.equal(violations(file, source).length, 1, `${file}: ${source}`);
    });
    it(`let ${place} import what it may`, () => {
      assert.ok(keeps.length > 0);
      for (const [file, source] of keeps) assert.deepEqual(violations(file, source), []);
    });
  }

  for (const { rule, breaks } of EVERYWHERE) {
    it(`report it where not: ${rule}`, () => {
      for (const [file, source] of breaks) assert.equal(violations(file, source).length, 1, `${file}: ${source}`);
    });
  }

  it('leave tests alone', () => {
    assert.deepEqual(violations('relay/relay.test.ts', `import { z } from 'zod';\nimport { sqlite } from '../stores/sqlite/index.ts';`), []);
  });

  it('are not misled by text that looks like an import', () => {
    const source = `// import { z } from 'zod';\n/** import('pg') */\nexport const text: string = "import x from 'pg'; require('pg')" + \`import('\${1}')\`;\nexport const pattern: RegExp = /import 'pg'/;`;
    assert.deepEqual(violations('contract/text.ts', source), []);
  });

  it('know a driver by its folder or by its file', () => {
    assert.equal(placeOf('formats/cloudevents.ts'), 'formats/cloudevents');
    assert.equal(placeOf('stores/sqlite/migrations/one.ts'), 'stores/sqlite');
  });
});

describe('the import rule of the workspaces beside the library', () => {
  it('holds in every file of the examples, the benchmarks, the other packages and the docs', async () => {
    const found: string[] = [];
    for (const workspace of await workspacesBeside()) {
      for (const file of await sources(join(ROOT, workspace))) {
        const path = `${workspace}/${file}`;
        found.push(...outsideViolations(workspace, path, await readFile(join(ROOT, path), 'utf8'), PUBLISHED));
      }
    }
    assert.deepEqual(found, []);
  });

  it('reports a subpath that is not published, and a path into the library', () => {
    for (const source of [`import { relay } from 'waybill/relay';`, `import { createBus } from '../../packages/waybill/src/index.ts';`, `await import('waybill/src/bus.ts');`]) {
      assert.equal(outsideViolations('examples/shop', 'examples/shop/start.ts', source, PUBLISHED).length, 1, source);
    }
  });

  it('lets published subpaths, files of the same workspace and packages pass', () => {
    const source = `import { createBus } from 'waybill';\nimport { operations } from 'waybill/operations';\nimport { Hono } from 'hono';\nimport { page } from '../storefront/page.ts';`;
    assert.deepEqual(outsideViolations('examples/shop', 'examples/shop/basket/main.ts', source, PUBLISHED), []);
    const server = `import { startPostgres } from '../../../packages/waybill/test/support/postgres-server.ts';`;
    assert.deepEqual(outsideViolations('examples/shop', 'examples/shop/test/servers.ts', server, PUBLISHED), [], 'what tests stand on');
    assert.equal(outsideViolations('examples/shop', 'examples/shop/contest/servers.ts', server, PUBLISHED).length, 1);
  });
});

async function sources(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const file of glob('**/*.ts', { cwd: folder, exclude: ['**/node_modules/**', '**/dist/**'] })) found.push(file);
  return found.sort();
}

async function workspacesBeside(): Promise<string[]> {
  const found: string[] = [];
  for await (const file of glob('{packages,examples}/*/package.json', { cwd: ROOT })) found.push(file.replace('/package.json', ''));
  for await (const file of glob('{benchmarks,lab}/package.json', { cwd: ROOT })) found.push(file.replace('/package.json', ''));
  for await (const folder of glob('docs/examples', { cwd: ROOT })) found.push(folder);
  return found.filter((workspace) => workspace !== 'packages/waybill').sort();
}
