import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Lies in every data folder of the shop: only a folder that has it is ever removed. */
const MARKER = 'waybill-shop.txt';
const MARKER_TEXT = 'Data of the reference shop of Waybill. "npm run shop:reset" removes this folder.\n';
const LOCK = 'running.lock';

/** Something that the person at the keyboard can put right: said without a stack. */
export class Advice extends Error {
  override readonly name = 'Advice';
}

export interface DataFolder {
  readonly path: string;
  /** Where services keep their databases, and find each other's messages. */
  readonly bus: string;
  /** Lets another shop start on this folder. */
  release(): void;
}

/** The folder in `SHOP_DATA`, by default `.waybill-shop` below the working directory. */
export function dataPath(env: NodeJS.ProcessEnv): string {
  return resolve(env['SHOP_DATA'] || '.waybill-shop');
}

/** Makes the folder or finds it, and takes it for this process. @throws Advice */
export function openDataFolder(path: string): DataFolder {
  try {
    mkdirSync(path, { recursive: true });
    const isOurs = existsSync(join(path, MARKER));
    if (!isOurs && readdirSync(path).length > 0) {
      throw new Advice(`${path} holds files that are not the shop's. Name another folder: SHOP_DATA=some/folder npm start`);
    }
    writeFileSync(join(path, MARKER), MARKER_TEXT);
    mkdirSync(join(path, 'bus'), { recursive: true });
    return { path, bus: join(path, 'bus'), release: lock(path) };
  } catch (error) {
    if (error instanceof Advice) throw error;
    throw new Advice(
      `The data folder ${path} cannot be written (${(error as Error).message}). Name another: SHOP_DATA=some/folder npm start`,
    );
  }
}

/** Removes a data folder, if it is one and nobody uses it. @returns what was done, as a sentence @throws Advice */
export function removeDataFolder(path: string): string {
  if (!existsSync(path)) return `There is no ${path}: nothing to remove.`;
  if (!existsSync(join(path, MARKER))) {
    throw new Advice(`${path} has no ${MARKER} in it, so it is not taken for the shop's data. Nothing was removed.`);
  }
  lock(path)();
  rmSync(path, { recursive: true });
  return `Removed ${path}. The next start fills a new one.`;
}

/** A lock that ends with the process, however it ends: SQLite leaves that to the operating system. */
function lock(path: string): () => void {
  const file = new DatabaseSync(join(path, LOCK));
  try {
    file.exec('begin exclusive');
  } catch {
    file.close();
    throw new Advice(`A shop is running on ${path}. Stop it first, or name another folder: SHOP_DATA=some/folder npm start`);
  }
  return () => file.close();
}
