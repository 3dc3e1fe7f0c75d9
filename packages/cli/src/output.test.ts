import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { it } from 'node:test';
import { WriteStream } from 'node:tty';
import { type Column, type OutputFormat, type Row, write } from './output.ts';

const rows: readonly Row[] = [
  { name: 'a', state: 'missing', detail: null, settings: { 'x-type': 'no', count: 1, on: true } },
  { name: 'longer "than": that\n', state: 'there', detail: 'd', settings: {} },
];
const columns: readonly Column[] = [
  { title: 'STATE', text: ({ state }) => String(state), colour: ({ state }) => (state === 'there' ? 'green' : 'red') },
  { title: 'NAME', text: ({ name }) => JSON.stringify(name) },
];

function written(format: OutputFormat, terminal = false, of = rows): string {
  const stream = Object.assign(new PassThrough(), terminal && { isTTY: true, getColorDepth: () => WriteStream.prototype.getColorDepth({ TERM: 'xterm', ...(process.env['NO_COLOR'] && { NO_COLOR: '1' }) } as NodeJS.ProcessEnv) });
  write(stream, of, format, columns);
  return String(stream.read() ?? '');
}

it('writes each form so that it can be read back', () => {
  assert.deepEqual(JSON.parse(written('json')), rows);
  assert.deepEqual(written('jsonl').trim().split('\n').map((line) => JSON.parse(line) as Row), rows);
  assert.equal(
    written('yaml'),
    '- "name": "a"\n  "state": "missing"\n  "detail": null\n  "settings":\n    "x-type": "no"\n    "count": 1\n    "on": true\n' +
      '- "name": "longer \\"than\\": that\\n"\n  "state": "there"\n  "detail": "d"\n  "settings": {}\n',
  );
  assert.equal(written('table'), 'STATE    NAME\nmissing  "a"\nthere    "longer \\"than\\": that\\n"\n');
});

it('writes nothing as nothing', () => {
  assert.deepEqual((['json', 'jsonl', 'yaml', 'table'] as const).map((format) => written(format, false, [])), ['[]\n', '', '[]\n', '']);
});

it('colours a terminal, and nothing under NO_COLOR', () => {
  const { NO_COLOR: before, FORCE_COLOR: forced, NODE_DISABLE_COLORS: disabled } = process.env;
  try {
    for (const name of ['NO_COLOR', 'FORCE_COLOR', 'NODE_DISABLE_COLORS']) delete process.env[name];
    assert.ok(written('table', true).includes('\u001B[31mmissing'));
    assert.ok(!written('table').includes('\u001B'));
    process.env['NO_COLOR'] = '1';
    assert.ok(!written('table', true).includes('\u001B'));
  } finally {
    delete process.env['NO_COLOR'];
    for (const [name, value] of Object.entries({ NO_COLOR: before, FORCE_COLOR: forced, NODE_DISABLE_COLORS: disabled })) if (value !== undefined) process.env[name] = value;
  }
});
