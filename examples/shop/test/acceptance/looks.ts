import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import type { BrowserContext, Page } from 'playwright-core';
import { ROOT } from '../../../../test/support/run.ts';

/** What a page is looked at in: narrow and wide, light and dark. */
export const LOOKS = {
  'desktop-light': { scheme: 'light', size: { width: 1280, height: 900 } },
  'desktop-dark': { scheme: 'dark', size: { width: 1280, height: 900 } },
  '390px-light': { scheme: 'light', size: { width: 390, height: 844 } },
  '390px-dark': { scheme: 'dark', size: { width: 390, height: 844 } },
} as const;
export type Look = keyof typeof LOOKS;

/** `UPDATE_SCREENSHOTS=1` takes the pictures of the documentation. */
const PICTURES = process.env['UPDATE_SCREENSHOTS'] ? join(ROOT, 'docs/screenshots') : undefined;
if (PICTURES) mkdirSync(PICTURES, { recursive: true });

/** In each look: axe finds nothing, nothing sticks out to the side, and a picture is taken when they are wanted. */
export async function faultless(page: Page, name: string, looks: readonly Look[]): Promise<void> {
  for (const look of PICTURES ? (Object.keys(LOOKS) as Look[]) : looks) {
    await page.setViewportSize(LOOKS[look].size);
    await page.emulateMedia({ colorScheme: LOOKS[look].scheme, reducedMotion: 'reduce' });
    assert.deepEqual(await faults(page), [], `${name} ${look}`);
    const overhang = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    assert.equal(overhang, 0, `${name} ${look} is wider than its window`);
    if (!PICTURES) continue;
    await page.evaluate(`document.querySelector(location.hash || 'body').scrollIntoView()`);
    await page.screenshot({ path: join(PICTURES, `${name}-${look}.png`) });
  }
  await page.setViewportSize(LOOKS['desktop-light'].size);
  await page.emulateMedia({ colorScheme: 'light' });
}

/** What axe has to say against a page. */
export async function faults(page: Page): Promise<string[]> {
  if (!(await page.evaluate('typeof axe === "object"'))) await page.evaluate(axe.source);
  return await page.evaluate(async () => {
    const { violations } = await (globalThis as unknown as { axe: typeof axe }).axe.run({ resultTypes: ['violations'] });
    return violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  });
}

/** The picture of the README, sharp on any screen. */
export async function pictureOfAlert(context: BrowserContext, url: string): Promise<void> {
  if (!PICTURES) return;
  const storageState = await context.storageState();
  for (const colorScheme of ['light', 'dark'] as const) {
    const own = await context.browser()!.newContext({
      storageState,
      colorScheme,
      reducedMotion: 'reduce',
      deviceScaleFactor: 2,
      viewport: { width: 800, height: 480 },
    });
    const page = await own.newPage();
    await page.goto(url);
    const card = (await page.locator('#line-harbour-mug').boundingBox())!;
    await page.screenshot({
      path: join(PICTURES, `price-alert-${colorScheme}.png`),
      clip: { x: 0, y: 0, width: 800, height: card.y + card.height + 20 },
    });
    await own.close();
  }
}

/** What a developer would find in the console. A page that is left drops its event stream: that is no fault. */
export function listen(context: BrowserContext, complaints: string[]): void {
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
