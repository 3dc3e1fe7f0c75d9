import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { needs } from './needs.ts';

describe('needs', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waybill-needs-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('gives a reason to skip, with the command that installs, when the program is missing', () => {
    const need = needs('chromium', { PATH: folder });
    assert.equal(need.path, undefined);
    assert.match(String(need.skip), /apt-get install -y --no-install-recommends chromium/);
  });

  it('throws under CI=true when the program is missing', () => {
    assert.throws(() => needs('chromium', { PATH: folder, CI: 'true' }), /apt-get install .* chromium/);
  });

  it('does not take a file that cannot be run for the program', async () => {
    await writeFile(join(folder, 'chromium'), 'text', { mode: 0o644 });
    assert.throws(() => needs('chromium', { PATH: folder, CI: 'true' }));
  });

  it('gives the path of the program, under CI=true as well', async () => {
    const file = join(folder, 'chromium-browser');
    await writeFile(file, '#!/bin/sh\n', { mode: 0o755 });
    const path = [join(folder, 'no-such-folder'), folder].join(delimiter);
    assert.deepEqual(needs('chromium', { PATH: path }), { path: file, skip: false });
    assert.deepEqual(needs('chromium', { PATH: path, CI: 'true' }), { path: file, skip: false });
  });
});
