import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { dataPath, openDataFolder, removeDataFolder } from './data-folder.ts';
import { checkAddresses, ownDatabase } from './stores.ts';

const scratch = mkdtempSync(join(tmpdir(), 'shop-data-'));
after(() => rmSync(scratch, { recursive: true }));

describe('the data folder', () => {
  it('is .waybill-shop unless it is named', () => {
    assert.equal(dataPath({}), join(process.cwd(), '.waybill-shop'));
    assert.equal(dataPath({ SHOP_DATA: '/data/shop' }), '/data/shop');
  });

  it('is made, found again, and removed', () => {
    const path = join(scratch, 'made', 'deep');
    openDataFolder(path).release();
    openDataFolder(path).release();
    assert.match(removeDataFolder(path), /^Removed /);
    assert.ok(!existsSync(path));
    assert.match(removeDataFolder(path), /nothing to remove/);
  });

  it('serves one shop at a time, and is not removed under it', () => {
    const path = join(scratch, 'taken');
    const { release } = openDataFolder(path);
    assert.throws(() => openDataFolder(path), /A shop is running on .*SHOP_DATA=/);
    assert.throws(() => removeDataFolder(path), /A shop is running on/);
    release();
    openDataFolder(path).release();
  });

  it('is never a folder with files of others', () => {
    const path = join(scratch, 'foreign');
    mkdirSync(path);
    writeFileSync(join(path, 'thesis.txt'), 'years of work');
    assert.throws(() => openDataFolder(path), /files that are not the shop's.*SHOP_DATA=/);
    assert.throws(() => removeDataFolder(path), /Nothing was removed/);
    assert.ok(existsSync(join(path, 'thesis.txt')));
  });

  it('says what to do when it cannot be written', () => {
    const file = join(scratch, 'a-file');
    writeFileSync(file, '');
    assert.throws(() => openDataFolder(join(file, 'below')), { name: 'Advice', message: /cannot be written .*SHOP_DATA=/s });
  });
});

describe('a service’s database', () => {
  for (const [address, own] of [
    ['postgres://shop:secret@db:5432/shop', 'postgres://shop:secret@db:5432/shop_basket'],
    ['postgres://db', 'postgres://db/shop_basket'],
    ['mariadb://db/test?ssl=true', 'mariadb://db/test_basket?ssl=true'],
    ['sqlite:/var/shop', 'sqlite:/var/shop/basket.db'],
  ]) {
    it(`of ${address!} is its own`, () => assert.equal(ownDatabase(address!, 'basket'), own));
  }

  it('is never in the memory of one process, nor nowhere', () => {
    assert.throws(() => checkAddresses({ WAYBILL_STORE: 'memory:' }), { name: 'Advice' });
    assert.throws(() => checkAddresses({ WAYBILL_TRANSPORT: 'rabbit' }), { name: 'Advice' });
    checkAddresses({ WAYBILL_STORE: 'sqlite:relative/folder', WAYBILL_TRANSPORT: 'amqp://localhost' });
  });
});
