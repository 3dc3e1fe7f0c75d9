/**
 * Preload (`node --import`): the stores say of themselves what a server would, so that the rooms take the paths made for
 * one. `WAYBILL_TEST_AS_SERVER=parallel` makes lanes run side by side too; these stores let them wait for each other,
 * which is allowed.
 */
import { registerHooks } from 'node:module';

const claim = 'parallelTransactions: false, cheapSavepoints: true';
const how = (process.env['WAYBILL_TEST_AS_SERVER'] ??= 'parallel');

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!/\/src\/stores\/(sqlite|memory)\/index\.ts$/.test(url)) return loaded;
    const source = typeof loaded.source === 'string' ? loaded.source : new TextDecoder().decode(loaded.source as Uint8Array);
    if (!source.includes(claim)) throw new Error(`${url} does not say ${claim}`);
    return { ...loaded, source: source.replace(claim, `parallelTransactions: ${how === 'parallel'}, cheapSavepoints: false`) };
  },
});
