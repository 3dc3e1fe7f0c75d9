import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Bus, createBus, defineEvent } from 'waybill';
import * as z from 'zod';

const V1 = defineEvent('catalog.priced', { schema: z.object({ id: z.string() }) });
const V2 = defineEvent('catalog.priced', {
  version: 2,
  schema: z.object({ id: z.string(), currency: z.string() }),
  previous: V1,
  upcast: (old) => ({ ...old, currency: 'EUR' }),
});
const V2WithDowncast = defineEvent('catalog.priced', {
  version: 2,
  schema: z.object({ id: z.string(), currency: z.string() }),
  previous: V1,
  downcast: ({ id }) => ({ id }),
});
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** What the publisher is told when `basket` takes `taken`, and `published` is what it publishes. */
async function told(taken: typeof V1 | typeof V2, published: typeof V2): Promise<unknown[]> {
  const dir = await mkdtemp(join(tmpdir(), 'waybill-unread-'));
  const bus = (service: string): Bus => createBus({ service, store: `sqlite:${dir}/${service}.db`, transport: `sqlite:${dir}`, logger: silent });
  const [basket, catalog] = [bus('basket'), bus('catalog')];
  try {
    basket.subscribe(taken as typeof V2, () => {});
    await basket.start();
    await catalog.start();
    const heard: unknown[] = [];
    catalog.on('version-unread', (detail) => heard.push(detail));
    await catalog.publish(published, { id: 'p1', currency: 'EUR' });
    await catalog.publish(published, { id: 'p2', currency: 'EUR' });
    return heard;
  } finally {
    await catalog.stop();
    await basket.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

describe('a version that nobody takes', () => {
  it('is reported once while an older one has subscribers', async () => {
    assert.deepEqual(await told(V1, V2), [{ type: 'catalog.priced.v2', older: 'catalog.priced.v1' }]);
  });

  it('is not reported when its receivers were upgraded first', async () => {
    assert.deepEqual(await told(V2, V2), []);
  });

  it('is not reported when it travels as the older one too', async () => {
    assert.deepEqual(await told(V1, V2WithDowncast), []);
  });
});
