import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Locator, type Page } from 'playwright-core';
import { needs } from '../../../../test/support/needs.ts';
import { SERVICE_NAMES } from '../../supervisor/messages.ts';
import { failToOpen, openShop, until, type Shop } from '../open-shop.ts';
import { faultless, faults, listen, pictureOfAlert, type Look } from './looks.ts';

/*
 * The acceptance of the shop: ten steps in a real browser, on real processes. The same for every store and transport; which
 * ones, the test file says that calls it.
 */

/** The servers that a shop stands on. */
export interface Ground extends AsyncDisposable {
  /** `WAYBILL_STORE` and `WAYBILL_TRANSPORT`; nothing for files. */
  readonly env: NodeJS.ProcessEnv;
}

export interface Where {
  readonly name: string;
  /** Why it cannot run here. */
  readonly skip?: string | false;
  /** What each page is looked at in: those of all places together are all there are. */
  readonly looks: readonly Look[];
  ground(): Promise<Ground>;
  /** What else is tried on this ground, once the ten steps are through. */
  more?(shop: () => Shop): void;
}

const PAGES = { shop: '/', basket: '/basket', admin: '/admin' } as const;
/** Milliseconds for a page to say something: far more than it needs, for a machine where others work too. */
const PATIENCE_MS = 60_000;

const need = needs('chromium');
const chromiumFlags = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];

export function acceptance({ name, skip, looks, ground, more }: Where): void {
  describe(`the shop in a browser, ${name}`, { skip: need.skip || skip }, () => {
    let [folder, servers]: [string?, Ground?] = [];
    let shop: Shop;
    let browser: Browser;
    /** One visitor with JavaScript and the same one without. */
    let live: BrowserContext;
    let plain: BrowserContext;
    let basket: Page;
    let admin: Page;
    const complaints: string[] = [];
    const open = async (env: NodeJS.ProcessEnv = {}): Promise<Shop> =>
      await openShop({ folder: folder!, env: { SHOP_RETRY_MS: '200', ...servers!.env, ...env } });

    const visitor = async (options: BrowserContextOptions = {}): Promise<BrowserContext> => {
      const context = await browser.newContext(options);
      context.setDefaultTimeout(PATIENCE_MS);
      listen(context, complaints);
      return context;
    };

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'shop-browser-'));
      [servers, browser] = await Promise.all([ground(), chromium.launch({ executablePath: need.path!, args: chromiumFlags })]);
      live = await visitor();
      plain = await visitor({ javaScriptEnabled: false });
    });
    after(async () => {
      await browser?.close();
      await shop?.close();
      await servers?.[Symbol.asyncDispose]();
      if (folder) await rm(folder, { recursive: true, force: true });
    });

    it('1 opens when every service is ready, and says how long that took', async () => {
      shop = await open();
      assert.match(shop.said(), / ✓ catalogue .*\nThe shop is open after \d+\.\d s\./);
      for (const service of SERVICE_NAMES)
        await until(`${service} answers`, async () => (await shop.service(service)).answering);
    });

    it('says what keeps another one from opening, and the next step', async () => {
      const { port } = new URL(shop.url);
      const another = join(folder!, 'another');
      const failures: [env: NodeJS.ProcessEnv, said: RegExp][] = [
        [{ SHOP_PORT: port, SHOP_DATA: another }, /^Port \d+ is taken\. .*SHOP_PORT=\d+ npm start\n$/],
        [{ SHOP_PORT: '0', SHOP_DATA: folder! }, /^A shop is running on .*SHOP_DATA=some\/folder npm start\n$/],
        [{ SHOP_PORT: '0', SHOP_DATA: join(folder!, 'waybill-shop.txt') }, /^The data folder .* cannot be written .*SHOP_DATA=some\/folder npm start\n$/],
      ];
      await Promise.all(
        failures.map(async ([env, said]) => {
          const { code, output } = await failToOpen({ ...servers!.env, ...env });
          assert.deepEqual([code, said.test(output)], [1, true], output);
        }),
      );
    });

    it('2 puts the mug into the basket at €12.00, by keyboard, without leaving the page', async () => {
      const page = await live.newPage();
      await page.goto(shop.url);
      const add = page.getByRole('button', { name: 'Add Harbour mug to the basket' });
      await page.getByRole('searchbox').focus();
      await until('the button has the focus', async () => {
        await page.keyboard.press('Tab');
        return hasFocus(add);
      });
      await page.keyboard.press('Enter');
      await page.getByText('Harbour mug is in your basket.').waitFor();
      await until('the focus is where it was', () => hasFocus(add));
      await until('the basket says so on top', async () =>
        (await page.getByRole('link', { name: /^Basket/ }).innerText()).includes('1'),
      );
      await page.close();

      basket = await live.newPage();
      await basket.goto(`${shop.url}/basket`);
      await says(line(basket), /€12\.00 each/);
      assert.equal(await alert(basket).innerText(), '');
      await plain.addCookies((await live.cookies()).map((cookie) => ({ name: cookie.name, value: cookie.value, url: shop.url })));
    });

    it('3 shows both prices when it changes: without reload, and without JavaScript after reload', async () => {
      await basket.evaluate(() => ((globalThis as { reloaded?: boolean }).reloaded = false));
      admin = await live.newPage();
      await admin.goto(`${shop.url}/admin`);
      await setPrice(admin, '9.50');
      await admin.getByText(/^Saved in catalog at \d\d:\d\d:\d\d\.$/).waitFor();
      await admin.getByText('Storefront has heard of it').waitFor();
      await admin.getByText('Basket has heard of it').waitFor();

      await says(alert(basket), 'was €12.00 when you added it, now €9.50');
      assert.equal(await basket.evaluate(() => (globalThis as { reloaded?: boolean }).reloaded), false);
      const page = await plain.newPage();
      await page.goto(`${shop.url}/basket`);
      assert.match(await alert(page).innerText(), /was €12\.00 when you added it, now €9\.50/);
      await page.close();
      await pictureOfAlert(live, `${shop.url}/basket`);
      // Now, while delays are those of an ordinary day.
      const behind = await live.newPage();
      await behind.goto(`${shop.url}/behind`);
      await behind.getByText('Usual delay').waitFor();
      await faultless(behind, 'behind', looks);
      await behind.close();
    });

    it('keeps what somebody is typing while the page changes around it', async () => {
      const quantity = basket.getByLabel('Pieces of Harbour mug', { exact: true });
      await quantity.focus();
      await quantity.fill('5');
      await setPrice(admin, '9.25');
      await says(alert(basket), 'now €9.25');
      assert.equal(await quantity.inputValue(), '5');
      assert.ok(await hasFocus(quantity));
      await setPrice(admin, '9.50');
      await says(alert(basket), 'now €9.50');
      await basket.reload();
    });

    it('4 says what it knows while the basket is killed, and loses nothing', async () => {
      await admin.getByRole('button', { name: 'Kill basket' }).click();
      await admin.getByText(/stopped since/).waitFor();
      await setPrice(admin, '8.00');
      await admin.getByText('Basket is not answering; it will hear of it when it is back').waitFor();
      await says(
        basket.locator('#warning'),
        /^Basket has been stopped since \d\d:\d\d:\d\d\. This is what it had said by (then|\d\d:\d\d:\d\d)\./,
      );
      await basket.getByText(/^Catalog has said €8\.00 since \d\d:\d\d:\d\d\. The basket has not heard of it yet\.$/).waitFor();
      assert.match(await line(basket).innerText(), /€9\.50 each/, 'what is known is still shown');
      await faultless(basket, 'basket-offline', looks);

      const page = await plain.newPage();
      await page.goto(shop.url);
      await page.getByRole('button', { name: 'Add Lighthouse teapot to the basket' }).click();
      await page.getByText('Basket is not answering. Nothing was changed').waitFor();
      await page.close();

      await admin.getByRole('button', { name: 'Start basket' }).click();
      await says(alert(basket), 'was €12.00 when you added it, now €8.00');
      await says(basket.locator('#warning'), /^$/);
    });

    it('5 hears of a price although the catalogue died between commit and telling', async () => {
      for (const page of [basket, admin]) await page.close();
      assert.equal(await shop.close(), 0, 'Ctrl-C');
      shop = await open({ SHOP_CRASH_AT: 'catalog:published' });
      const { pid } = await shop.service('catalog');
      basket = await live.newPage();
      await basket.goto(`${shop.url}/basket`);
      await says(alert(basket), 'was €12.00 when you added it, now €8.00');
      admin = await live.newPage();
      await admin.goto(`${shop.url}/admin`);
      await setPrice(admin, '7.50');
      await admin.getByText('Catalog did not answer in time, so it is not known whether it did this.').waitFor();
      await says(admin.locator('#state-catalog'), /came back 1 time$/);
      await says(alert(basket), 'was €12.00 when you added it, now €7.50');
      await until('the catalogue is back', async () => {
        const seen = await shop.service('catalog');
        return seen.answering && seen.pid !== pid;
      });
    });

    it('6 never says that an order is paid before it is, and brings it home once payment is mended', async () => {
      const buyer = await visitor();
      const page = await buyer.newPage();
      const badge = page.locator('#order .badge');
      await page.goto(`${shop.url}/?q=ferry`);
      await page.getByRole('button', { name: 'Add Ferry teapot to the basket' }).click();
      await page.getByText('Ferry teapot is in your basket.').waitFor();
      await setGateway(admin, 'answers nobody');
      await admin.getByRole('button', { name: 'Stop ordering' }).click();
      await says(admin.locator('#state-ordering'), /^stopped since/);

      await page.goto(`${shop.url}/basket`);
      await page.getByRole('button', { name: 'Order for €36.00' }).click();
      await page.waitForURL('**/orders/*');
      await says(badge, 'Received');
      assert.match(await page.locator('#order').innerText(), /Ordering has not said anything of it yet/);
      await admin.getByRole('button', { name: 'Start ordering' }).click();
      await says(badge, 'Stock confirmed');
      await admin.getByText(/^Payment tries payment\.authorize-payment\.v1 at \d\d:\d\d:\d\d, attempt [2-6] of 6\./).first().waitFor();
      await admin.getByText(/^Payment has given up 1 message of payment\.authorize-payment\.v1\./).waitFor();
      assert.equal(await badge.innerText(), 'Stock confirmed');
      await admin.goto(`${shop.url}/admin#trouble`);
      await faultless(admin, 'admin-trouble', looks);

      await setGateway(admin, 'works');
      await admin.getByRole('button', { name: 'Retry payment.authorize-payment.v1' }).click();
      await says(badge, 'Shipped');
      const steps = await page.locator('#steps').innerText();
      for (const word of ['Submitted.', 'Awaiting validation.', 'Stock confirmed.', 'Paid.', 'Shipped.']) assert.ok(steps.includes(word), word);
      await admin.locator('#no-trouble').waitFor();
      await faultless(page, 'order', looks);
      await page.goto(`${shop.url}/orders`);
      await faultless(page, 'orders', looks);
      await buyer.close();
    });

    it('7 takes the alert back when the price returns', async () => {
      await admin.goto(`${shop.url}/admin`);
      await setPrice(admin, '12.00');
      await says(line(basket), /€12\.00 each/);
      await says(alert(basket), /^$/);
    });

    it('8 changes nothing when the basket hears everything from the beginning again', async () => {
      const before = await line(basket).innerText();
      for (const [event, atLeast] of [['product-added', 200], ['product-price-changed', 5]] as const) {
        await admin.goto(`${shop.url}/admin`);
        await admin.getByLabel('Subscription of the basket').selectOption(`basket.catalog.${event}`);
        await admin.getByRole('button', { name: 'Replay' }).click();
        const told = await admin.getByText(/^Heard \d+ messages again: \d+ were known and left out, 0 were applied\.$/).innerText();
        assert.ok(Number(/\d+/.exec(told)) >= atLeast, told);
      }
      await admin.locator('#no-trouble').waitFor();
      await basket.reload();
      assert.equal(await line(basket).innerText(), before);
    });

    it('works without JavaScript from the first page to the last', async () => {
      const page = await plain.newPage();
      const reloaded = (what: string, look: () => Promise<boolean>): Promise<boolean> =>
        until(what, async () => {
          await page.reload();
          return await look();
        });
      await page.goto(`${shop.url}/?q=teapot`);
      await page.getByRole('button', { name: 'Add Ferry teapot to the basket' }).click();
      await page.waitForURL('**/basket');
      await reloaded('the teapot is shown', async () => (await page.locator('#line-ferry-teapot').count()) === 1);
      await page.getByLabel('Pieces of Ferry teapot', { exact: true }).fill('3');
      await page.getByRole('button', { name: 'Set the pieces of Ferry teapot' }).click();
      await page.waitForURL('**/basket');
      await reloaded('three are shown', async () => (await page.locator('#line-sum-ferry-teapot').innerText()) === '€108.00');
      await page.getByRole('button', { name: 'Remove Harbour mug' }).click();
      await page.waitForURL('**/basket');
      await reloaded('the mug is gone', async () => (await page.locator('#pieces-said').innerText()) === '3 pieces of 1 product');
      await page.getByRole('link', { name: 'Admin' }).click();
      await page.getByRole('searchbox').fill('ferry');
      await page.getByRole('button', { name: 'Find' }).click();
      await page.getByLabel('New price of Ferry teapot in euros').fill('40.00');
      await page.getByRole('button', { name: 'Save the price of Ferry teapot' }).click();
      await page.getByText(/^Saved in catalog at/).waitFor();
      await page.getByLabel('Changes').fill('20');
      await page.getByRole('button', { name: 'Change prices' }).click();
      await page.getByRole('heading', { name: 'Behind the scenes' }).waitFor();
      await page.goto(`${shop.url}/basket`);
      await reloaded('the new price has come', async () =>
        /was €36\.00 when you added it, now €/.test(await page.locator('#alert-ferry-teapot').innerText()),
      );

      // Nobody charges, so that there is time to call the order off.
      await page.goto(`${shop.url}/admin`);
      await page.getByRole('button', { name: 'Stop payment' }).click();
      await page.waitForURL('**/admin#service-payment');
      await page.goto(`${shop.url}/basket`);
      await page.getByRole('button', { name: /^Order for €/ }).click();
      await page.waitForURL('**/orders/*');
      const cancel = page.getByRole('button', { name: 'Cancel this order' });
      await reloaded('ordering has taken it on', async () => (await cancel.count()) === 1);
      await cancel.click();
      await page.waitForURL('**/orders/*');
      const order = page.url();
      await page.goto(`${shop.url}/admin`);
      await page.getByRole('button', { name: 'Start payment' }).click();
      await page.waitForURL('**/admin#service-payment');
      await page.goto(order);
      await reloaded('the order is cancelled', async () => (await page.locator('#order .badge').innerText()) === 'Cancelled');
      await page.close();
    });

    it('9, 10 has no fault on any page: narrow and wide, light and dark', async () => {
      for (const item of ['harbour-mug', 'rubber-plant', 'two-person-tent'])
        await basket.request.post(`${shop.url}/api/basket/items`, { data: { productId: item, quantity: 1 } });
      await basket.request.post(`${shop.url}/api/admin/products/rubber-plant/price`, { data: { price: 26 } });
      await basket.goto(`${shop.url}/basket`);
      await says(basket.locator('#alert-rubber-plant'), 'now €26.00');
      for (const [page, path] of Object.entries(PAGES)) {
        await basket.goto(shop.url + path);
        await faultless(basket, page, looks);
      }
      await basket.goto(`${shop.url}/?q=unicorn`);
      assert.deepEqual(await faults(basket), [], 'nothing found');
      assert.deepEqual(complaints, []);

      // In the header, where a page that reads itself anew replaces nothing: elsewhere it mends the fault before axe looks.
      await basket.evaluate('document.querySelector("header").append(document.createElement("button"))');
      assert.match((await faults(basket)).join(), /button-name/, 'a fault would be found');
    });

    more?.(() => shop);
  });
}

function line(page: Page): Locator {
  return page.locator('#line-harbour-mug');
}

function alert(page: Page): Locator {
  return page.locator('#alert-harbour-mug');
}

function hasFocus(element: Locator): Promise<boolean> {
  return element.evaluate((node: unknown) => (node as { matches(selector: string): boolean }).matches(':focus'));
}

/** Waits until that is what stands there: pages follow events. */
async function says(place: Locator, text: string | RegExp): Promise<void> {
  await until(`it says ${text}`, async () => {
    const said = (await place.innerText()).trim();
    if (typeof text === 'string' ? said.includes(text) : text.test(said)) return true;
    throw new Error(`it says ${JSON.stringify(said)}`);
  });
}

async function setPrice(page: Page, price: string): Promise<void> {
  await page.getByLabel('New price of Harbour mug in euros').fill(price);
  await page.getByRole('button', { name: 'Save the price of Harbour mug' }).click();
}

async function setGateway(page: Page, mode: string): Promise<void> {
  await page.getByLabel('The payment gateway').selectOption(mode);
  await page.getByRole('button', { name: 'Set' }).first().click();
}
