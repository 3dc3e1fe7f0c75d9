import { accessSync, constants, globSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The programs that tests may need beside Node, and how a developer gets each. */
export const PROGRAMS = {
  chromium: {
    names: ['chromium', 'chromium-browser', 'google-chrome'],
    install: 'apt-get install -y --no-install-recommends chromium',
  },
  postgres: {
    names: ['postgres'],
    // Debian keeps each major version's server programs in a folder of its own, outside PATH.
    folders: '/usr/lib/postgresql/*/bin',
    install: 'apt-get install -y --no-install-recommends postgresql',
  },
  rabbitmq: {
    names: ['rabbitmq-server'],
    install: 'apt-get install -y --no-install-recommends rabbitmq-server',
  },
  spin: {
    names: ['spin'],
    install: 'apt-get install -y --no-install-recommends spin gcc libc6-dev',
  },
  pgbouncer: {
    names: ['pgbouncer'],
    folders: '/usr/sbin',
    install: 'apt-get install -y --no-install-recommends pgbouncer',
  },
} as const satisfies Record<string, { names: readonly string[]; folders?: string; install: string }>;

export type Program = keyof typeof PROGRAMS;

export type Need =
  | { readonly path: string; readonly skip: false }
  /** `skip` is the reason, ready for `test(name, { skip }, …)`. */
  | { readonly path: undefined; readonly skip: string };

/**
 * Finds a program that a test needs. Where it is missing, a developer's run skips the test with the command that installs
 * it; under `CI=true` it throws, because a skipped test there would look like a passed one.
 *
 *     const chromium = needs('chromium');
 *     test('the basket shows both prices', { skip: chromium.skip }, async () => launch(chromium.path));
 */
export function needs(program: Program, env: NodeJS.ProcessEnv = process.env): Need {
  const { names, install, ...more } = PROGRAMS[program];
  const folders = 'folders' in more ? globSync(more.folders).sort().reverse() : [];
  const places = [env['PATH'] ?? '', ...folders].join(delimiter);
  const path = names.map((name) => find(name, places)).find((found) => found !== undefined);
  if (path !== undefined) return { path, skip: false };

  const reason = `needs ${program}, which is not installed: ${install}`;
  if (env['CI'] === 'true') throw new Error(`${reason} (under CI=true a missing program is a failure, not a skip)`);
  return { path: undefined, skip: reason };
}

function find(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
