/** Installs the peers at the versions of `packages/package.json`, beside it and nowhere else, unless they are there. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const home = fileURLToPath(new URL('packages/', import.meta.url));

interface Manifest {
  readonly version?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const read = (file: string): Manifest => JSON.parse(readFileSync(file, 'utf8')) as Manifest;

/** What is installed, by name. */
export function installPeers(): Readonly<Record<string, string>> {
  const wanted = read(`${home}package.json`).dependencies ?? {};
  const isThere = (name: string): boolean => {
    const file = `${home}node_modules/${name}/package.json`;
    return existsSync(file) && read(file).version === wanted[name];
  };
  if (!Object.keys(wanted).every(isThere)) {
    // --legacy-peer-deps: @node-ts/bus-rabbitmq asks for an alpha of bus-core, and works with what came of it.
    execFileSync('npm', ['install', '--no-package-lock', '--no-audit', '--no-fund', '--legacy-peer-deps', '--loglevel=error'], { cwd: home, stdio: 'inherit' });
  }
  return wanted;
}
