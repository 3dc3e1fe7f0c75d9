/** `npm run mutants -- [--seeds 1000] [--only TEXT]`: every planted bug must be noticed by an invariant. */
import { parseArgs } from 'node:util';
import { createProgress } from '../progress.ts';
import { hunt } from './hunting.ts';
import { mutants } from './list.ts';

const { values } = parseArgs({ options: { seeds: { type: 'string', default: '1000' }, only: { type: 'string', default: '' }, parallel: { type: 'string', default: '2' } } });
const chosen = mutants.filter(({ name }) => name.includes(values.only));
const queue = [...chosen];
const progress = createProgress(chosen.length, 'mutants');
const missed: string[] = [];
let done = 0;

const work = async (): Promise<void> => {
  for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
    const caught = await hunt(mutant, { from: 1, seeds: Number(values.seeds), timeoutMs: 900_000 }).catch((error: unknown) => error as Error);
    const { name } = mutant;
    if (caught instanceof Error) {
      missed.push(name);
      console.log(`BROKEN  ${name}: ${caught.message.split('\n').slice(0, 12).join('\n        ')}`);
    } else if (caught.by === undefined) {
      missed.push(name);
      console.log(`MISSED  ${name}`);
    } else console.log(`caught  ${name}: ${caught.by}, ${caught.invariants!.join(' ')}: ${caught.what}`);
    progress.update(++done, `${missed.length} missed`);
  }
};
await Promise.all(Array.from({ length: Number(values.parallel) }, work));
progress.end();
console.log({ mutants: chosen.length, caught: chosen.length - missed.length, missed });
process.exitCode = missed.length > 0 ? 1 : 0;
