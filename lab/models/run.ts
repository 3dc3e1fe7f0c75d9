/**
 * `npm run models`: every property of every model, checked exhaustively by Spin within the bounds that the models state;
 * and, as a control, with a planted error that Spin must find. Needs Debian's packages spin and gcc.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** One change each that breaks the property named. */
const planted: Readonly<Record<string, readonly { readonly find: string; readonly put: string; readonly property: string }[]>> = {
  'lease.pml': [
    { find: ':: upto > position -> break', put: ':: upto < ROWS -> upto++; break', property: 'honest' }, // counted before it is sent
  ],
  'outbox.pml': [
    { find: 'trimmed < position -> trimmed++', put: 'trimmed < last -> trimmed++', property: 'kept' }, // trims what was not sent
    { find: 'reader >= trimmed && reader < last -> reader++', put: 'reader < last -> reader++', property: 'kept' }, // reads on without being told
  ],
  'inbox.pml': [
    { find: ':: !inbox -> inbox = true; verdict()', put: ':: !inbox -> verdict()', property: 'once' }, // no inbox row
    { find: '!waits -> break', put: 'true -> break', property: 'ends' }, // gives up while it waits
  ],
  'timer.pml': [
    { find: 'saga == running && armed && generation == got -> \n          if :: fired == got -> wrong = true :: else -> skip fi;\n          fired = got; armed = false\n       :: else -> skip                ', put: 'saga != none -> if :: fired == got -> wrong = true :: else -> skip fi; fired = got\n       :: else -> skip                ', property: 'tame' },
    { find: ':: saga == none -> saga = running', put: ':: saga != running -> saga = running', property: 'tame' }, // no tombstone
  ],
};

/** @returns states that were visited, or undefined when an error was found */
export async function verify(model: string, property: string): Promise<number | undefined> {
  const directory = await mkdtemp(join(tmpdir(), 'waybill-model-'));
  try {
    await writeFile(join(directory, 'model.pml'), model);
    await run('spin', ['-a', '-N', '/dev/null', 'model.pml'], { cwd: directory });
    await run('gcc', ['-O2', '-w', '-DMEMLIM=2048', '-o', 'pan', 'pan.c'], { cwd: directory });
    // -a: acceptance cycles, -f: weak fairness; -m: depth, in steps
    const { stdout } = await run('./pan', ['-a', '-f', '-m1000000', '-N', property], { cwd: directory, maxBuffer: 1 << 24 });
    const errors = Number(/errors: (\d+)/.exec(stdout)?.[1]);
    if (!Number.isInteger(errors)) throw new Error(`spin said nothing that is understood:\n${stdout}`);
    if (/search depth too small|max search depth/.test(stdout)) throw new Error('the search was cut off');
    return errors > 0 ? undefined : Number(/([\d.e+]+) states, stored/.exec(stdout)?.[1]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  let wrong = 0;
  for (const file of (await readdir(import.meta.dirname)).filter((name) => name.endsWith('.pml')).sort()) {
    const model = await readFile(join(import.meta.dirname, file), 'utf8');
    for (const [, property] of model.matchAll(/^ltl (\w+)/gm)) {
      const states = await verify(model, property!);
      if (states === undefined) wrong++;
      console.log(`${states === undefined ? 'BROKEN' : 'holds '}  ${file} ${property}${states === undefined ? '' : `: ${states} states`}`);
    }
    for (const { find, put, property } of planted[file] ?? []) {
      if (model.split(find).length < 2) throw new Error(`${file}: the control's text is gone: ${find}`);
      const noticed = (await verify(model.replace(find, () => put), property)) === undefined;
      if (!noticed) wrong++;
      console.log(`${noticed ? 'noticed' : 'UNNOTICED'} ${file} ${property}: ${put.split('\n')[0]!.trim()}`);
    }
  }
  process.exitCode = wrong > 0 ? 1 : 0;
}
