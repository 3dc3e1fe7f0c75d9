import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createApp } from '../service/http.ts';
import { openBooks } from './books.ts';
import { isCardNumber } from './card.ts';
import { gatewayApp } from './http.ts';

const NUMBER = '4242424242424242';

describe('the payment gateway', () => {
  it('charges as often as it is asked, so that a test can tell', async (t) => {
    const { post, books } = open(t);
    const charge = { orderId: 'o1', amountCents: 100, token: 'tok_visa' };
    await post('/charges', charge);
    await post('/charges', charge);
    assert.equal(books.ofOrder('o1').charges.length, 2);
  });

  it('answers under one key what it has answered, also when it was a refusal', async (t) => {
    const { post, books } = open(t);
    const charge = { orderId: 'o1', amountCents: 100, token: 'tok_visa' };
    const answers = [await post('/charges', charge, 'k'), await post('/charges', charge, 'k')];
    assert.deepEqual(await answers[0]!.json(), await answers[1]!.json());
    assert.equal(books.ofOrder('o1').charges.length, 1);
    for (const _ of [1, 2]) assert.equal((await post('/charges', { ...charge, token: 'tok_declined' }, 'd')).status, 402);
  });

  it('keeps no card number, only what stands for it (case 18)', async (t) => {
    const { post, folder, books } = open(t);
    const response = await post('/cards', { cardNumber: '4242 4242 4242 4242' });
    const { token, last4 } = (await response.json()) as { token: string; last4: string };
    assert.match(token, /^tok_/);
    assert.equal(last4, '4242');
    books.close();
    const bytes = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'latin1'));
    assert.ok(bytes.some((text) => text.includes(token)), 'this would find it');
    assert.ok(!bytes.some((text) => text.includes(NUMBER)));
  });

  it('does as it is told: declines, answers nobody, charges without saying so', async (t) => {
    const { post, books } = open(t);
    const charge = { orderId: 'o1', amountCents: 100, token: 'tok_visa' };
    const statuses: [string, number][] = [];
    for (const mode of ['declines', 'fails', 'charges-and-fails', 'normal']) {
      await post('/mode', { mode });
      statuses.push([mode, (await post('/charges', charge)).status]);
    }
    assert.deepEqual(statuses, [['declines', 402], ['fails', 503], ['charges-and-fails', 503], ['normal', 201]]);
    assert.equal(books.ofOrder('o1').charges.length, 2);
  });

  it('tells card numbers from others', () => {
    for (const good of [NUMBER, '4000000000000002', '378282246310005']) assert.ok(isCardNumber(good), good);
    for (const bad of ['4242424242424241', '42', '', 'abcd', `${NUMBER}0000`]) assert.ok(!isCardNumber(bad), bad);
  });
});

function open(t: { after(work: () => void): void }) {
  const folder = mkdtempSync(join(tmpdir(), 'shop-gateway-'));
  const books = openBooks(join(folder, 'gateway.db'));
  let isOpen = true;
  const close = (): void => {
    if (isOpen) books.close();
    isOpen = false;
  };
  t.after(() => {
    close();
    rmSync(folder, { recursive: true });
  });
  const app = gatewayApp(createApp(), books);
  const post = async (path: string, body: object, key?: string): Promise<Response> =>
    await app.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(key ? { 'idempotency-key': key } : {}) },
      body: JSON.stringify(body),
    });
  return { folder, post, books: { ...books, ofOrder: books.ofOrder, close } };
}
