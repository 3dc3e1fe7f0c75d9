import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createSignals } from './signals.ts';

const ref = { id: '1', source: 's', type: 't' };

describe('signals', () => {
  it('reach every listener, in order, until it is stopped', () => {
    const signals = createSignals();
    const heard: string[] = [];
    const stopFirst = signals.on('sent', () => heard.push('first'));
    signals.on('sent', () => heard.push('second'));
    signals.emit('sent', ref);
    stopFirst();
    stopFirst();
    signals.emit('sent', ref);
    signals.emit('refused', { ...ref, reason: 'x' });
    assert.deepEqual(heard, ['first', 'second', 'second']);
  });

  it('say whether anybody listens', () => {
    const signals = createSignals();
    assert.equal(signals.has('sent'), false);
    const stop = signals.on('sent', () => {});
    assert.equal(signals.has('sent'), true);
    stop();
    assert.equal(signals.has('sent'), false);
    const again = signals.on('sent', () => {});
    stop(); // of the old one: takes nothing from the new
    assert.equal(signals.has('sent'), true);
    again();
  });

  it('survive a listener that throws or rejects, and report it', async () => {
    const signals = createSignals();
    const trouble: string[] = [];
    const heard: string[] = [];
    signals.on('trouble', ({ where, error }) => trouble.push(`${where}: ${(error as Error).message}`));
    signals.on('sent', () => {
      throw new Error('sync');
    });
    signals.on('sent', () => Promise.reject(new Error('async')) as never);
    signals.on('sent', () => heard.push('still'));
    signals.emit('sent', ref);
    await Promise.resolve();
    await Promise.resolve();
    assert.deepEqual(heard, ['still']);
    assert.deepEqual(trouble, ["a listener of 'sent': sync", "a listener of 'sent': async"]);
  });

  it('do not go round in circles when the listener of trouble throws', () => {
    const signals = createSignals();
    let calls = 0;
    signals.on('trouble', () => {
      calls++;
      throw new Error('again');
    });
    signals.emit('trouble', { where: 'x', error: undefined });
    assert.equal(calls, 1);
  });

  it('may be listened to and left while one is being heard', () => {
    const signals = createSignals();
    const heard: string[] = [];
    const stop = signals.on('sent', () => {
      heard.push('first');
      stop();
      signals.on('sent', () => heard.push('new'));
    });
    signals.on('sent', () => heard.push('second'));
    signals.emit('sent', ref);
    assert.deepEqual(heard, ['first', 'second']);
    signals.emit('sent', ref);
    assert.deepEqual(heard, ['first', 'second', 'second', 'new']);
  });
});
