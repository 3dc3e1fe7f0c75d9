import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Logger, SignalMap, SignalName } from '../contract/signals.ts';
import { signalNames } from '../contract/signals.ts';
import { consoleLogger, logSignals } from './log.ts';
import { createSignals } from './signals.ts';

const recorder = (): Logger & { lines: [level: string, text: string, details: object][] } => {
  const lines: [string, string, object][] = [];
  const write = (level: string) => (details: object, text = '') => void lines.push([level, text, details]);
  return { lines, debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') };
};
const failed: SignalMap['failed'] = { id: 'm1', source: 's', type: 't.v1', subscription: 'desk.notes', attempts: 3, error: new Error('no ink') };

describe('the log', () => {
  it('says what somebody should know, with the reason', () => {
    const signals = createSignals();
    const logger = recorder();
    logSignals(signals, logger, () => 0);
    signals.emit('failed', failed);
    assert.deepEqual(logger.lines, [['error', 'desk.notes: message m1 (t.v1) has failed for good after 3 runs; see failures', { error: failed.error }]]);
  });

  it('holds back repetition for ten seconds, and says how much', () => {
    const signals = createSignals();
    const logger = recorder();
    let now = 0;
    logSignals(signals, logger, () => now);
    for (let i = 0; i < 50; i++) signals.emit('failed', failed);
    assert.equal(logger.lines.length, 1);
    signals.emit('failed', { ...failed, subscription: 'desk.other' });
    assert.equal(logger.lines.length, 2, 'another kind of line');
    now = 10_000;
    signals.emit('failed', failed);
    assert.equal(logger.lines.length, 3);
    assert.equal((logger.lines[2]![2] as { alsoHeldBack?: number }).alsoHeldBack, 49);
  });

  it('keeps a bounded memory of what it said', () => {
    const signals = createSignals();
    const logger = recorder();
    logSignals(signals, logger, () => 0);
    for (let i = 0; i < 5_000; i++) signals.emit('failed', { ...failed, subscription: `desk.n${i}` });
    assert.equal(logger.lines.length, 5_000);
    signals.emit('failed', { ...failed, subscription: 'desk.n4999' });
    assert.equal(logger.lines.length, 5_000);
  });

  it('says nothing about what goes well', () => {
    const signals = createSignals();
    const logger = recorder();
    logSignals(signals, logger, () => 0);
    const ref = { id: '1', source: 's', type: 't', subscription: 'x' };
    signals.emit('published', ref);
    signals.emit('sent', ref);
    signals.emit('applied', { ...ref, attempt: 1, ageMs: 0 });
    signals.emit('duplicate', ref);
    assert.deepEqual(logger.lines, []);
  });

  it('warns of a pause that nobody asked for, also right after one that was', () => {
    const signals = createSignals();
    const logger = recorder();
    logSignals(signals, logger, () => 0);
    signals.emit('paused', { subscription: 'desk.notes', reason: 'asked', error: undefined });
    const error = new Error('away');
    signals.emit('paused', { subscription: 'desk.notes', reason: 'transport', error });
    assert.deepEqual(logger.lines, [['info', 'desk.notes pauses (asked)', {}], ['warn', 'desk.notes pauses (transport)', { error }]]);
  });

  it('counts one run as one', () => {
    const signals = createSignals();
    const logger = recorder();
    logSignals(signals, logger, () => 0);
    signals.emit('failed', { ...failed, attempts: 1 });
    assert.match(logger.lines[0]![1], /after 1 run;/);
  });

  it('does not fall over a logger that throws, or a detail that is odd', () => {
    const signals = createSignals();
    logSignals(signals, { ...recorder(), error: () => { throw new Error('disk full'); } }, () => 0);
    signals.emit('failed', { ...failed, error: undefined });
    signals.emit('failed', { ...failed, error: Object.create(null) as unknown, subscription: 'b' });
  });

  it('knows each name that it hears', () => {
    const heard: string[] = [];
    const signals = { ...createSignals(), on: (name: SignalName) => (heard.push(name), () => {}) };
    logSignals(signals, recorder(), () => 0);
    for (const name of heard) assert.ok(signalNames.has(name), name);
    assert.equal(new Set(heard).size, heard.length);
  });

  it('writes one line to the console, whatever was thrown', (t) => {
    const lines: string[] = [];
    t.mock.method(console, 'warn', (line: string) => lines.push(line));
    t.mock.method(console, 'error', (line: string) => lines.push(line));
    for (const error of [new Error('two\nlines'), undefined, null, Object.create(null), { toString: () => { throw new Error('no'); } }, Symbol('s')]) {
      consoleLogger.warn({ error }, 'text');
      consoleLogger.error({ error });
    }
    consoleLogger.debug({}, 'silent');
    consoleLogger.info({}, 'silent');
    assert.equal(lines.length, 12);
    assert.ok(lines.every((line) => !line.includes('\n') && line.startsWith('waybill ')), lines.join('|'));
  });
});
