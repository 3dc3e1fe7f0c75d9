import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Progress } from './progress.ts';

const message = (time: number, source = 'catalog') => ({ source, time, isHeartbeat: false });
const heartbeat = (time: number, source = 'catalog') => ({ source, time, isHeartbeat: true });
const nothing = (queues: number): never[][] => Array.from({ length: queues }, () => []);

describe('how far a source is, over partitions', () => {
  it('is not known before each of them has said something, and then as far as the least far one', () => {
    const progress = new Progress(2);
    assert.equal(progress.took(0, message(10)), true, 'the first of its source');
    assert.equal(progress.took(0, message(10)), false);
    assert.deepEqual(progress.report(nothing(2), 0), [{ source: 'catalog', appliedUntilMs: 0, waiting: undefined }]);
    progress.took(1, heartbeat(7));
    assert.equal(progress.report(nothing(2), 0)[0]!.appliedUntilMs, 7);
    progress.took(1, heartbeat(12));
    assert.equal(progress.report(nothing(2), 0)[0]!.appliedUntilMs, 10);
  });

  it('is held back by what is in hand, and by what went back until it has come again', () => {
    const progress = new Progress(2);
    for (const queue of [0, 1]) progress.took(queue, heartbeat(20));
    progress.took(0, message(21));
    assert.deepEqual(progress.report([[message(21)], []], 0), [{ source: 'catalog', appliedUntilMs: 20, waiting: 1 }]);
    progress.took(1, message(15)); // published late: it is older than what was said
    assert.deepEqual(progress.report([[], [message(15), heartbeat(13)]], 0), [{ source: 'catalog', appliedUntilMs: 14, waiting: 1 }]);
    progress.returned(1, message(15));
    assert.equal(progress.report(nothing(2), 0)[0]!.appliedUntilMs, 14);
    progress.took(1, heartbeat(30));
    assert.equal(progress.report(nothing(2), 0)[0]!.appliedUntilMs, 21);
  });

  it('takes from others what they know of theirs, which stays true', () => {
    const [one, two] = [new Progress(2), new Progress(2)];
    one.took(0, message(30));
    two.took(1, message(12));
    two.took(1, heartbeat(40));
    const said = two.word([[], [message(12)]]);
    assert.deepEqual(said, { catalog: { until: [null, 11], sent: true } });
    one.heard('two', said, 0);
    assert.equal(one.report(nothing(2), 0)[0]!.appliedUntilMs, 11);
    one.heard('two', two.word(nothing(2)), 0);
    assert.equal(one.report(nothing(2), 1e9)[0]!.appliedUntilMs, 30, 'however long ago');
    one.heard('two', said, 0); // an old word, late
    assert.equal(one.report(nothing(2), 0)[0]!.appliedUntilMs, 30);
  });

  it('is told of sources with heartbeats alone as such, unless another has had more of them', () => {
    const progress = new Progress(1);
    progress.took(0, heartbeat(5, 'quiet'));
    assert.deepEqual(progress.report(nothing(1), 0), [{ source: 'quiet', appliedUntilMs: 5, waiting: undefined, onlyHeartbeats: true }]);
    progress.heard('two', { quiet: { until: [4], sent: true } }, 0);
    assert.deepEqual(progress.report(nothing(1), 0), [{ source: 'quiet', appliedUntilMs: 4, waiting: undefined }]);
  });
});

describe('how far a source is, in a queue that instances share', () => {
  it('is as far as the least far of them, by its latest word', () => {
    const progress = new Progress(1);
    progress.took(0, heartbeat(50));
    progress.heard('two', { catalog: { until: [20], sent: true } }, 0);
    progress.heard('three', { stock: { until: [1], sent: true } }, 0); // has had nothing of it yet
    assert.equal(progress.report(nothing(1), 1_000).find(({ source }) => source === 'catalog')!.appliedUntilMs, 20);
    progress.heard('two', { catalog: { until: [60], sent: true } }, 1_000);
    assert.equal(progress.report(nothing(1), 1_000).find(({ source }) => source === 'catalog')!.appliedUntilMs, 50);
  });

  it('forgets who has fallen silent', () => {
    const progress = new Progress(1);
    progress.took(0, heartbeat(50));
    progress.heard('two', { catalog: { until: [20], sent: true } }, 0);
    assert.equal(progress.report(nothing(1), 3_000)[0]!.appliedUntilMs, 20);
    assert.equal(progress.report(nothing(1), 5_000)[0]!.appliedUntilMs, 50);
  });

  it('remembers no more sources than it should', () => {
    const progress = new Progress(1);
    for (let i = 0; i < 5_000; i++) progress.took(0, message(1, `s${i}`));
    assert.equal(progress.report(nothing(1), 0).length, 1_000);
    assert.equal(Object.keys(progress.word(nothing(1))).length, 200);
  });
});
