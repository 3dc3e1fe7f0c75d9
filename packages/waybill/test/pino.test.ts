import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pino } from 'pino';
import { createTestBus } from 'waybill/testing';
import { Noted } from './support/contracts.ts';

/** What pino wrote, line by line. */
function sink(): { write(line: string): void; lines: { level: number; msg: string; err?: { message: string }; error?: unknown }[] } {
  const lines: { level: number; msg: string }[] = [];
  return { lines, write: (line) => void lines.push(JSON.parse(line) as { level: number; msg: string }) };
}

describe('a pino logger', () => {
  it('is told of what has failed, and of nothing when all is well', async () => {
    const out = sink();
    await using bus = createTestBus({ service: 'desk', logger: pino({ level: 'info' }, out) });
    bus.subscribe(Noted, { retry: false }, (event) => {
      if (event.text === 'bad') throw new Error('secret reason');
    });
    await bus.publish(Noted, { text: 'good' });
    await bus.settled();
    assert.equal(out.lines.length, 0);
    await bus.publish(Noted, { text: 'bad' });
    await bus.settled();
    assert.equal(out.lines.length, 1);
    assert.equal(out.lines[0]!.level, pino.levels.values.error);
    assert.match(out.lines[0]!.msg, /has failed for good/);
    assert.ok(!JSON.stringify(out.lines).includes('"text"'), 'a body is never logged');
  });

  it('is what a handler finds as ctx.logger', async () => {
    const out = sink();
    await using bus = createTestBus({ service: 'desk', logger: pino({ level: 'info' }, out) });
    bus.subscribe(Noted, (event, ctx) => ctx.logger.info({ text: event.text }, 'noted'));
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(out.lines.map(({ msg }) => msg), ['noted']);
  });
});
