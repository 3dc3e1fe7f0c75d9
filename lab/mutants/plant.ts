/** Preloaded with `--import`: plants the mutant that `WAYBILL_MUTANT` names into the library while it is loaded. */
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { mutants } from './list.ts';

const name = process.env.WAYBILL_MUTANT;
const mutant = mutants.find((one) => one.name === name);
if (!mutant) throw new Error(`no mutant is named ${JSON.stringify(name)}`);
const src = join(import.meta.dirname, '../../packages/waybill/src');
const changes = [mutant, ...(mutant.also ? [mutant.also] : [])];
const planted = new Set<(typeof changes)[number]>();

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const mine = url.startsWith('file:') ? changes.filter(({ file }) => join(src, file) === fileURLToPath(url)) : [];
    if (mine.length === 0) return loaded;
    let source = Buffer.from(loaded.source as Uint8Array).toString('utf8');
    for (const change of mine) {
      const parts = source.split(change.find);
      if (parts.length !== 2) throw new Error(`mutant '${mutant.name}': its text stands ${parts.length - 1} times in ${change.file}, not once`);
      source = parts.join(change.put);
      planted.add(change);
    }
    return { ...loaded, source };
  },
});

/** Whether every change was made: asked once everything is loaded. */
export function isPlanted(): boolean {
  return planted.size === changes.length;
}
