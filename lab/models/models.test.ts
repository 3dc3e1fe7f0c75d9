/** The quickest of the models; `npm run models` checks them all, and that Spin notices an error planted in each. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { verify } from './run.ts';

describe('the model of the inbox', { skip: needs('spin').skip }, () => {
  const read = (): Promise<string> => readFile(join(import.meta.dirname, 'inbox.pml'), 'utf8');

  it('holds in every state within its bounds', async () => {
    assert.ok((await verify(await read(), 'once'))! > 100);
  });

  it('does not hold without an inbox row', async () => {
    assert.equal(await verify((await read()).replace('!inbox -> inbox = true; verdict()', '!inbox -> verdict()'), 'once'), undefined);
  });
});
