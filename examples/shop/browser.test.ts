import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import axe from 'axe-core';
import { chromium, type Browser, type BrowserContext, type Locator, type Page } from 'playwright-core';
import { needs } from '../../test/support/needs.ts';
import { ROOT } from '../../test/support/run.ts';
import { SERVICE_NAMES } from './supervisor/messages.ts';
import { openShop, until, type Shop } from './testing/open-shop.ts';

/*
 * The acceptance of the shop in a real browser, on real processes.
 *
 * Pictures go to test-results/shop; with UPDATE_SCREENSHOTS=1 to docs/screenshots.
 */
const need = needs('chromium');
const PICTURES = process.env['UPDATE_SCREENSHOTS'] ? join(ROOT, 'docs/screenshots') : join(ROOT, 'test-results/shop');
const PAGES = { shop: '/', basket: '/basket', admin: '/admin', behind: '/behind' } as const;
/** Time for a person to call an order off. */
const UNHURRIED = { SHOP_GRACE_MS: '3000' };
const VARIANTS = (['light', 'dark'] as const).flatMap((scheme) => [
  { scheme, name: `desktop-${scheme}`, size: { width: 1280, height: 900 } },
  { scheme, name: `390px-${scheme}`, size: { width: 390, height: 844 } },
]);

describe('the shop in a browser', { skip: need.skip }, () => {
  let folder: string;
  let shop: Shop;
  let browser: Browser;
  /** One visitor with JavaScript and the same one without. */
  let live: BrowserContext;
  let plain: BrowserContext;
  /** Somebody else, who buys. */
  let buyer: BrowserContext;
  let basket: Page;
  let admin: Page;
  const complaints: string[] = [];

  before(async () => {
    mkdirSync(PICTURES, { recursive: true });
    folder = await mkdtemp(join(tmpdir(), 'shop-browser-'));
    browser = await chromium.launch({
      executablePath: need.path!,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
      ],
    });
    live = await browser.newContext();
    plain = await browser.newContext({ javaScriptEnabled: false });
    for (const context of [live, plain]) listen(context, complaints);
  });
  after(async () => {
    await browser?.close();
    await shop?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('1 opens when every service is ready', async () => {
    shop = await openShop({ folder, env: UNHURRIED });
    for (const name of SERVICE_NAMES) assert.ok((await shop.service(name)).answering, name);
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
    assert.ok(await hasFocus(add), 'the focus stays where it was');
    await until('the basket says so on top', async () =>
      (await page.getByRole('link', { name: /^Basket/ }).innerText()).includes('1'),
    );
    await page.close();

    basket = await live.newPage();
    await basket.goto(`${shop.url}/basket`);
    assert.match(await line(basket).innerText(), /€12\.00 each/);
    assert.equal(await alert(basket).innerText(), '');
    await plain.addCookies((await live.cookies()).map(({ name, value }) => ({ name, value, url: shop.url })));
  });

  it('3 shows both prices when it changes: without reload, and without JavaScript after reload', async () => {
    await basket.evaluate(() => ((globalThis as { reloaded?: boolean }).reloaded = false));
    admin = await live.newPage();
    await admin.goto(`${shop.url}/admin`);
    await setPrice(admin, '9.50');
    await admin.getByText(/^Saved in catalog at \d\d:\d\d:\d\d\.$/).waitFor();
    await admin.getByText('Storefront has heard of it').waitFor();
    await admin.getByText('Basket has heard of it').waitFor();

    await says(basket, 'was €12.00 when you added it, now €9.50');
    assert.equal(await basket.evaluate(() => (globalThis as { reloaded?: boolean }).reloaded), false);
    const page = await plain.newPage();
    await page.goto(`${shop.url}/basket`);
    assert.match(await alert(page).innerText(), /was €12\.00 when you added it, now €9\.50/);
    await page.close();
    await pictureOfAlert(live, `${shop.url}/basket`);
  });

  it('keeps what somebody is typing while the page changes around it', async () => {
    const quantity = basket.getByLabel('Pieces of Harbour mug', { exact: true });
    await quantity.focus();
    await quantity.fill('5');
    await setPrice(admin, '9.25');
    await says(basket, 'now €9.25');
    assert.equal(await quantity.inputValue(), '5');
    assert.ok(await hasFocus(quantity));
    await setPrice(admin, '9.50');
    await says(basket, 'now €9.50');
    await basket.reload();
  });

  it('4 says what it knows while the basket is killed, and loses nothing', async () => {
    await admin.getByRole('button', { name: 'Kill basket' }).click();
    await admin.getByText(/stopped since/).waitFor();
    await setPrice(admin, '8.00');
    await admin.getByText('Basket is not answering; it will hear of it when it is back').waitFor();
    await basket
      .getByRole('status')
      .filter({ hasText: /^Basket has been stopped since \d\d:\d\d:\d\d\. This is what it had said by (then|\d\d:\d\d:\d\d)\./ })
      .waitFor();
    await basket.getByText(/^Catalog has said €8\.00 since \d\d:\d\d:\d\d\. The basket has not heard of it yet\.$/).waitFor();
    assert.match(await line(basket).innerText(), /€9\.50 each/, 'what is known is still shown');
    await faultless(basket, 'basket-offline', PICTURES);

    const page = await plain.newPage();
    await page.goto(shop.url);
    await page.getByRole('button', { name: 'Add Lighthouse teapot to the basket' }).click();
    await page.getByText('Basket is not answering. Nothing was changed').waitFor();
    await page.close();

    await admin.getByRole('button', { name: 'Start basket' }).click();
    await says(basket, 'was €12.00 when you added it, now €8.00');
    await until('the warning is gone', async () => (await basket.locator('#warning').innerText()) === '');
  });

  it('5 hears of a price although the catalogue died between commit and telling', async () => {
    for (const page of [basket, admin]) await page.close();
    await shop.close();
    shop = await openShop({ folder, env: { ...UNHURRIED, SHOP_CRASH_AT: 'catalog:published' } });
    const { pid } = await shop.service('catalog');
    basket = await live.newPage();
    await basket.goto(`${shop.url}/basket`);
    admin = await live.newPage();
    await admin.goto(`${shop.url}/admin`);
    await setPrice(admin, '7.50');
    await admin.getByText('Catalog did not answer in time, so it is not known whether it did this.').waitFor();
    await until('the page goes on being live', async () =>
      (await admin.locator('#state-catalog').innerText()).includes('came back 1 time'),
    );
    await says(basket, 'was €12.00 when you added it, now €7.50');
    await until('the catalogue is back', async () => {
      const seen = await shop.service('catalog');
      return seen.answering && seen.pid !== pid;
    });
  });

  it('6 never says that an order is paid before it is, and brings it home once payment is mended', async () => {
    buyer = await browser.newContext();
    listen(buyer, complaints);
    const page = await buyer.newPage();
    await page.goto(`${shop.url}/?q=ferry`);
    await page.getByRole('button', { name: 'Add Ferry teapot to the basket' }).click();
    await page.getByText('Ferry teapot is in your basket.').waitFor();
    await admin.goto(`${shop.url}/admin`);
    await admin.getByLabel('The payment gateway').selectOption('answers nobody');
    await admin.getByRole('button', { name: 'Set' }).first().click();

    await page.goto(`${shop.url}/basket`);
    await page.getByRole('button', { name: 'Order for €36.00' }).click();
    await page.waitForURL('**/orders/*');
    const badge = page.locator('#order .badge');
    assert.match(await badge.innerText(), /^(Received|Submitted)$/, 'nothing is confirmed that is not');
    await page.locator('.badge', { hasText: 'Stock confirmed' }).waitFor();
    await admin.getByText(/^Payment tries payment\.authorize-payment\.v1 at \d\d:\d\d:\d\d, attempt [2-6] of 6\./).waitFor();
    await admin.getByText(/^Payment has given up 1 message of payment\.authorize-payment\.v1\./).waitFor({ timeout: 60_000 });
    assert.equal(await badge.innerText(), 'Stock confirmed');
    await faultless(admin, 'admin-trouble', PICTURES);

    await admin.getByLabel('The payment gateway').selectOption('works');
    await admin.getByRole('button', { name: 'Set' }).first().click();
    await admin.getByRole('button', { name: 'Retry payment.authorize-payment.v1' }).click();
    await page.locator('.badge', { hasText: 'Shipped' }).waitFor();
    const steps = await page.locator('#steps').innerText();
    for (const word of ['Submitted.', 'Awaiting validation.', 'Stock confirmed.', 'Paid.', 'Shipped.']) assert.ok(steps.includes(word), word);
    await until('nothing waits any more', async () => (await admin.locator('#no-trouble').count()) === 1);
    await faultless(page, 'order', PICTURES);
    await page.goto(`${shop.url}/orders`);
    await faultless(page, 'orders', PICTURES);
    await page.close();
  });

  it('7 takes the alert back when the price returns', async () => {
    await admin.goto(`${shop.url}/admin`);
    await setPrice(admin, '12.00');
    await until('nothing is said of the line', async () => (await alert(basket).innerText()) === '');
    assert.match(await line(basket).innerText(), /€12\.00 each/);
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
    await basket.reload();
    assert.equal(await line(basket).innerText(), before);
  });

  it('works without JavaScript from the first page to the last', async () => {
    const page = await plain.newPage();
    await page.goto(`${shop.url}/?q=teapot`);
    await page.getByRole('button', { name: 'Add Ferry teapot to the basket' }).click();
    await page.waitForURL('**/basket');
    await page.getByLabel('Pieces of Ferry teapot', { exact: true }).fill('3');
    await page.getByRole('button', { name: 'Set the pieces of Ferry teapot' }).click();
    await page.getByText('€108.00').first().waitFor();
    await page.getByRole('button', { name: 'Remove Harbour mug' }).click();
    await page.getByText('3 pieces of 1 product').waitFor();
    await page.getByRole('link', { name: 'Admin' }).click();
    await page.getByRole('searchbox').fill('ferry');
    await page.getByRole('button', { name: 'Find' }).click();
    await page.getByLabel('New price of Ferry teapot in euros').fill('40.00');
    await page.getByRole('button', { name: 'Save the price of Ferry teapot' }).click();
    await page.getByText(/^Saved in catalog at/).waitFor();
    await page.getByLabel('Changes').fill('20');
    await page.getByRole('button', { name: 'Change prices' }).click();
    await page.getByRole('heading', { name: 'Behind the scenes' }).waitFor();
    await until('the new price has come', async () => {
      await page.goto(`${shop.url}/basket`);
      return /was €36\.00 when you added it, now €/.test(await page.locator('#alert-ferry-teapot').innerText());
    });
    await page.getByRole('button', { name: /^Order for €/ }).click();
    await page.waitForURL('**/orders/*');
    await until('ordering has taken it on', async () => {
      await page.reload();
      return (await page.getByRole('button', { name: 'Cancel this order' }).count()) === 1;
    });
    await page.getByRole('button', { name: 'Cancel this order' }).click();
    await until('the order is cancelled', async () => {
      await page.reload();
      return (await page.locator('#order .badge').innerText()) === 'Cancelled';
    });
    await page.close();
  });

  it('9, 10 has no fault on any page: narrow and wide, light and dark', async () => {
    for (const item of ['harbour-mug', 'rubber-plant', 'two-person-tent']) {
      await basket.request.post(`${shop.url}/api/basket/items`, { data: { productId: item, quantity: 1 } });
    }
    await basket.request.post(`${shop.url}/api/admin/products/rubber-plant/price`, { data: { price: 26 } });
    for (const [name, path] of Object.entries(PAGES)) {
      await basket.goto(shop.url + path);
      await faultless(basket, name, PICTURES);
    }
    await basket.goto(`${shop.url}/?q=unicorn`);
    await faultless(basket, 'nothing-found', PICTURES, false);
    assert.deepEqual(complaints, []);
  });
});

function line(page: Page) {
  return page.locator('#line-harbour-mug');
}

function alert(page: Page) {
  return page.locator('#alert-harbour-mug');
}

function hasFocus(element: Locator): Promise<boolean> {
  return element.evaluate((node: unknown) => (node as { matches(selector: string): boolean }).matches(':focus'));
}

async function says(page: Page, text: string): Promise<void> {
  await page.getByRole('status').filter({ hasText: text }).waitFor();
}

async function setPrice(page: Page, price: string): Promise<void> {
  await page.getByLabel('New price of Harbour mug in euros').fill(price);
  await page.getByRole('button', { name: 'Save the price of Harbour mug' }).click();
}

/** What a developer would find in the console. A page that is left drops its event stream: that is no fault. */
function listen(context: BrowserContext, complaints: string[]): void {
  context.on('console', (message) => {
    const expected = /503 \(Service Unavailable\)|504 \(Gateway Timeout\)|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING/;
    if (['error', 'warning'].includes(message.type()) && !expected.test(message.text()))
      complaints.push(`${message.text()} (${message.location().url})`);
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
  context.on('requestfailed', (request) => {
    const errorText = request.failure()?.errorText ?? '';
    if (!/\/live\?|ERR_ABORTED|ERR_CONNECTION_REFUSED/.test(`${request.url()} ${errorText}`))
      complaints.push(`${request.url()}: ${errorText}`);
  });
}

/** In each variant: axe finds nothing, nothing sticks out to the side, and a picture is taken. */
async function faultless(page: Page, name: string, folder: string, picture = true): Promise<void> {
  for (const variant of VARIANTS) {
    await page.setViewportSize(variant.size);
    await page.emulateMedia({ colorScheme: variant.scheme, reducedMotion: 'reduce' });
    await page.evaluate(axe.source);
    const faults = await page.evaluate(async () => {
      const { violations } = await (globalThis as unknown as { axe: typeof axe }).axe.run();
      return violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html).join(' ')}`);
    });
    assert.deepEqual(faults, [], `${name} ${variant.name}`);
    const overhang = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    assert.equal(overhang, 0, `${name} ${variant.name} is wider than its window`);
    if (picture) await page.screenshot({ path: join(folder, `${name}-${variant.name}.png`) });
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.emulateMedia({ colorScheme: 'light' });
}

/** The picture of the README, sharp on any screen. */
async function pictureOfAlert(context: BrowserContext, url: string): Promise<void> {
  const storageState = await context.storageState();
  for (const colorScheme of ['light', 'dark'] as const) {
    const own = await context
      .browser()!
      .newContext({
        storageState,
        colorScheme,
        reducedMotion: 'reduce',
        deviceScaleFactor: 2,
        viewport: { width: 800, height: 480 },
      });
    const page = await own.newPage();
    await page.goto(url);
    const card = (await line(page).boundingBox())!;
    await page.screenshot({
      path: join(PICTURES, `price-alert-${colorScheme}.png`),
      clip: { x: 0, y: 0, width: 800, height: card.y + card.height + 20 },
    });
    await own.close();
  }
}
