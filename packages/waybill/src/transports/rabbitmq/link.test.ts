import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { it } from 'node:test';
import { systemClock } from '../../contract/clock.ts';
import { Link } from './link.ts';

/** A connection whose socket writes down when it is corked. */
function connection() {
  const seen: string[] = [];
  const stream = Object.assign(new EventEmitter(), { cork: () => seen.push('cork'), uncork: () => seen.push('uncork'), destroy() {} });
  return { seen, stream, opened: Object.assign(new EventEmitter(), { connection: { stream }, close: async () => {} }) };
}

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

it('keeps what is written within two turns together, and gives whoever asks again meanwhile two turns more', async () => {
  const { seen, opened } = connection();
  const link = new Link(async () => opened, systemClock());
  await link.get();
  link.together();
  assert.deepEqual(seen, ['cork']);
  await turns(1);
  link.together();
  assert.deepEqual(seen, ['cork']);
  await turns(2);
  assert.deepEqual(seen, ['cork', 'uncork', 'cork']);
  await turns(3);
  assert.deepEqual(seen, ['cork', 'uncork', 'cork', 'uncork']);
  await link.close();
});

it('corks a drained socket before its client goes on writing', async () => {
  const { seen, stream, opened } = connection();
  stream.on('drain', () => seen.push('client writes'));
  const link = new Link(async () => opened, systemClock());
  await link.get();
  stream.emit('drain');
  assert.deepEqual(seen, ['cork', 'client writes']);
  await turns(4);
  assert.equal(seen.at(-1), 'uncork');
  await link.close();
});
