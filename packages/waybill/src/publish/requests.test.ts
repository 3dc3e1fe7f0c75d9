import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Envelope } from '../contract/message.ts';
import { createSignals } from '../observe/signals.ts';
import { virtualClock } from '../testing/clock.ts';
import { createRequests, writeReply } from './requests.ts';

const replyTo = (id: string | undefined): Envelope => ({
  kind: 'reply', id: 'r', source: 'orders', type: 'waybill.reply.v1', time: new Date(0), correlationId: 'talk', headers: {}, ...(id !== undefined && { causationId: id }),
}); // prettier-ignore
const desk = () => {
  const clock = virtualClock();
  const signals = createSignals();
  const late: string[] = [];
  signals.on('late-reply', ({ correlationId }) => late.push(correlationId));
  return { clock, late, requests: createRequests({ clock, signals }) };
};

describe('requests', () => {
  it('settle each with its own reply, once, and count what nobody waits for', async () => {
    const { requests, late } = desk();
    const one = requests.wait('1', 'a', 1_000, undefined);
    const two = requests.wait('2', 'a', 1_000, undefined);
    requests.take(replyTo('2'), writeReply({ ok: true, json: '{"n":2}' }));
    requests.take(replyTo('1'), writeReply({ ok: true, json: 'null' }));
    requests.take(replyTo('1'), writeReply({ ok: true, json: '7' }));
    requests.take(replyTo('3'), writeReply({ ok: true, json: '7' }));
    requests.take(replyTo(undefined), writeReply({ ok: true, json: '7' }));
    assert.deepEqual([await one, await two], [null, { n: 2 }]);
    assert.equal(late.length, 3);
  });

  it('fail with the code and text of the other side', async () => {
    const { requests } = desk();
    const one = requests.wait('1', 'a', 1_000, undefined);
    requests.take(replyTo('1'), writeReply({ ok: false, code: 'OUT_OF_STOCK', message: 'none left' }));
    const error: any = await one.catch((e: unknown) => e);
    assert.deepEqual([error.code, error.cause.code, error.cause.message], ['REPLY_FAILED', 'OUT_OF_STOCK', 'none left']);
  });

  it('fail on replies that are none', async () => {
    const { requests } = desk();
    for (const [i, json] of ['', 'null', '7', '{}', '{"ok":"yes"}', '{"ok":false}', '[true]', '{'].entries()) {
      const one = requests.wait(String(i), 'a', 1_000, undefined);
      requests.take(replyTo(String(i)), json);
      await assert.rejects(one, { code: 'REPLY_FAILED' }, json);
    }
  });

  it('leave no timer and no listener behind, however they end', async () => {
    const { requests, clock } = desk();
    const abort = new AbortController();
    const answered = requests.wait('1', 'a', 1_000, abort.signal);
    const aborted = requests.wait('2', 'a', 1_000, abort.signal);
    const closed = requests.wait('3', 'a', 1_000, undefined);
    const late = requests.wait('4', 'a', 10, undefined);
    requests.take(replyTo('1'), writeReply({ ok: true, json: '1' }));
    await answered;
    const lateFails = assert.rejects(late, { code: 'REPLY_TIMEOUT' });
    await clock.advance(10);
    await lateFails;
    abort.abort(new Error('left'));
    await assert.rejects(aborted, /left/);
    requests.close();
    await assert.rejects(closed, { code: 'STOPPED' });
    assert.equal(clock.next(), undefined);
  });
});
