import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SERVICE_NAMES } from '../supervisor/messages.ts';
import { failToOpen, isGone, launch, openShop, until, type BasketSeen } from './open-shop.ts';

describe('starting the shop', () => {
  let scratch: string;
  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'shop-start-'));
  });
  after(() => rm(scratch, { recursive: true, force: true }));

  it('finds its data a second time, and ends with Ctrl-C without a trace of a process', async () => {
    const folder = join(scratch, 'twice');
    const first = await openShop({ folder });
    await first.json('POST', '/api/basket/items', { visitor: 'ann', body: { productId: 'harbour-mug', quantity: 3 } });
    await first.json('POST', '/api/admin/products/harbour-mug/price', { body: { price: 9.5 } });
    const pids = await Promise.all(
      SERVICE_NAMES.map(async (name) => (await first.service(name)).pid!),
    );
    assert.equal(await first.close(), 0);
    for (const pid of pids) assert.ok(isGone(pid), `process ${pid}`);

    await using second = await openShop({ folder });
    const line = await until('the basket is as it was', async () =>
      (await second.json<BasketSeen>('GET', '/api/basket', { visitor: 'ann' })).lines.find(({ unitPrice }) => unitPrice === 9.5),
    );
    assert.deepEqual([line.quantity, line.priceWhenAdded], [3, 12]);
  });

  it('leaves no service behind when start.ts itself is killed', async () => {
    const folder = join(scratch, 'orphans');
    const shop = await openShop({ folder });
    const pids = await Promise.all(
      SERVICE_NAMES.map(async (name) => (await shop.service(name)).pid!),
    );
    await shop.kill();
    await until('every service has left', () => pids.every(isGone));
    await using again = await openShop({ folder });
    assert.equal((await again.ask('GET', '/health/ready')).status, 200);
  });

  it('stops in the middle of starting', async () => {
    const { child, output, ended } = launch({ SHOP_PORT: '0', SHOP_DATA: join(scratch, 'hasty') });
    await until('it has begun', () => output().includes('Starting'));
    child.kill('SIGINT');
    assert.equal(await ended, 0, output());
  });

  it('gives what a service prints meanwhile a line of its own', async () => {
    const chatter = "data:text/javascript,process.env.GATEWAY_FILE&&console.warn(`hello`)";
    await using shop = await openShop({ folder: join(scratch, 'chatter'), env: { NODE_OPTIONS: `--import=${chatter}` } });
    assert.match(shop.said(), /^(Starting.*\n)+Starting gateway ✓.* ✓ catalogue .*\nThe shop is open after /);
    for (const name of SERVICE_NAMES)
      assert.ok(shop.output().includes(`[${name}] hello\n`), shop.output());
  });

  it('says that the port is taken, and how to take another', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as { port: number };
    const { code, output } = await failToOpen({ SHOP_PORT: String(port), SHOP_DATA: join(scratch, 'port') });
    other.close();
    assert.equal(code, 1);
    assert.equal(output.trim(), `Port ${port} is taken. Stop what uses it, or name another: SHOP_PORT=${port + 1} npm start`);
  });

  it('says that a port is none', async () => {
    const { code, output } = await failToOpen({ SHOP_PORT: 'eighty', SHOP_DATA: join(scratch, 'port') });
    assert.deepEqual([code, output.includes('"eighty", which is no port')], [1, true]);
  });

  it('says that the data folder cannot be written, and how to name another', async () => {
    const file = join(scratch, 'a-file');
    await writeFile(file, '');
    const { code, output } = await failToOpen({ SHOP_PORT: '0', SHOP_DATA: file });
    assert.equal(code, 1);
    assert.match(output, /^The data folder .* cannot be written .*SHOP_DATA=some\/folder npm start\n$/);
  });

  it('says that a server does not answer, and what to do', async () => {
    for (const [name, address] of [['WAYBILL_STORE', 'postgres://shop:secret@127.0.0.1:9/shop'], ['WAYBILL_TRANSPORT', 'amqp://127.0.0.1:9']] as const) {
      const { code, output } = await failToOpen({ SHOP_PORT: '0', SHOP_DATA: join(scratch, 'servers'), [name]: address });
      assert.equal(code, 1);
      assert.match(output, new RegExp(`^Nothing answers at 127\\.0\\.0\\.1:9, where ${name} points \\(ECONNREFUSED\\)\\. Start that server .*leave ${name} out to use files\\.\n$`));
    }
  });

  it('says which service does not start, why, and what to do', async () => {
    const folder = join(scratch, 'damaged');
    await (await openShop({ folder })).close();
    // What the last reader left in the log would mend the file.
    for (const side of ['-wal', '-shm']) await rm(join(folder, 'bus', `basket.db${side}`), { force: true });
    await writeFile(join(folder, 'bus', 'basket.db'), 'this is no database, however often you open it'.repeat(200));
    const { code, output } = await failToOpen({ SHOP_PORT: '0', SHOP_DATA: folder });
    assert.equal(code, 1);
    assert.match(output, /basket does not start\. It said:/);
    assert.match(output, /npm run shop:reset/);
  });

  it('is reset only when it is the shop’s folder and nobody uses it', async () => {
    const folder = join(scratch, 'reset');
    const shop = await openShop({ folder });
    const refused = launch({ SHOP_DATA: folder }, 'reset.ts');
    assert.equal(await refused.ended, 1);
    assert.match(refused.output(), /A shop is running on/);
    await shop.close();
    const done = launch({ SHOP_DATA: folder, WAYBILL_STORE: 'postgres://shop:secret@db/shop' }, 'reset.ts');
    assert.equal(await done.ended, 0, done.output());
    assert.match(done.output(), /^Removed .* What lies on db:5432 is as it was: drop /);
    assert.ok(!existsSync(folder));
    const foreign = launch({ SHOP_DATA: scratch }, 'reset.ts');
    assert.equal(await foreign.ended, 1);
    assert.ok(existsSync(scratch));
  });
});
