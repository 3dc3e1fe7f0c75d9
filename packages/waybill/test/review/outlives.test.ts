/** What a handler or block leaves under way when it is over: a publish whose schema is still at work. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { defineEvent } from 'waybill';
import { createTestBus } from 'waybill/testing';
import { Noted } from '../support/contracts.ts';
import { overStores } from '../support/stores.ts';

/** A contract whose schema answers some turns of the event loop later. */
const Late = defineEvent('desk.late', {
  schema: {
    '~standard': {
      version: 1,
      vendor: 'late',
      async validate(value: unknown) {
        for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
        const { what } = value as { what: string };
        return what === 'refused' ? { issues: [{ message: 'refused' }] } : { value: { what } };
      },
    },
  },
});

overStores('a publish that is still under way', (store) => {
  it('is undone with the run that threw meanwhile, whatever the next run does', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.subscribe(Noted, { retry: { immediate: 1, delayed: 0 } }, async (_, ctx) => {
      if (++runs === 1) await Promise.all([ctx.publish(Late, { what: 'phantom' }), Promise.reject(new Error('no'))]);
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.equal(runs, 2);
    assert.deepEqual(bus.messages().map(({ type }) => type), ['desk.noted.v1']);
  });

  it('is undone with a set-based run that threw meanwhile', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    let runs = 0;
    bus.subscribeBatch(Noted, { retry: { immediate: 1, delayed: 0 } }, async (_, ctx) => {
      if (++runs === 1) await Promise.all([ctx.publish(Late, { what: 'phantom' }), Promise.reject(new Error('no'))]);
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    assert.deepEqual(bus.messages().map(({ type }) => type), ['desk.noted.v1']);
  });

  it('is undone with an onFailed that threw meanwhile', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    const onFailed = async (_: unknown, ctx: { publish: (event: typeof Late, data: { what: string }) => Promise<unknown> }): Promise<void> => {
      await Promise.all([ctx.publish(Late, { what: 'phantom' }), Promise.reject(new Error('no'))]);
    };
    bus.subscribe(Noted, { retry: false, onFailed }, async (event) => {
      if (event.text === 'bad') throw new Error('no');
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    });
    await bus.publishAll([Noted.of({ text: 'bad' }), Noted.of({ text: 'good' })]);
    await bus.settled();
    assert.deepEqual(bus.messages().map(({ type }) => type), ['desk.noted.v1', 'desk.noted.v1']);
  });

  it('is refused quietly when the handler that did not await it threw', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    bus.subscribe(Noted, { retry: false }, (_, ctx) => {
      void ctx.publish(Late, { what: 'phantom' });
      throw new Error('no');
    });
    await bus.publish(Noted, { text: 'a' });
    await bus.settled();
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve)); // a rejection that nobody hears fails the test
    assert.equal((await bus.failures()).length, 1);
    assert.equal(bus.messages().length, 1);
  });

  for (const transaction of ['shared', 'own', 'manual'] as const) {
    it(`commits with the handler that did not await it, ${transaction}`, async () => {
      await using bus = createTestBus({ service: 'desk', store });
      bus.subscribe(Noted, { transaction, retry: false }, async (_, ctx) => {
        if (transaction === 'manual') await (ctx as any).transaction(async () => void ctx.publish(Late, { what: 'late' }).catch(() => {}));
        else void ctx.publish(Late, { what: 'late' }).catch(() => {});
      });
      await bus.publish(Noted, { text: 'a' });
      await bus.settled();
      assert.deepEqual(bus.messages().map(({ type }) => type), ['desk.noted.v1', 'desk.late.v1']);
    });
  }

  it('commits with the block that did not await it, and fails it when it fails', async () => {
    await using bus = createTestBus({ service: 'desk', store });
    await bus.transaction(async (tx) => void bus.publish(Late, { what: 'late' }, { tx }).catch(() => {}));
    assert.equal(bus.messages().length, 1);
    await assert.rejects(
      bus.transaction(async (tx) => void bus.publish(Late, { what: 'refused' }, { tx }).catch(() => {})),
      { code: 'CONTRACT_VIOLATION' },
    );
    assert.equal(bus.messages().length, 1);
  });
});
