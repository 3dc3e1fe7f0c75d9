import { readFileSync } from 'node:fs';
import { Hono } from 'hono';
import { Problem } from '../service/problem.ts';
import { picture } from './pictures/picture.ts';
import { productById, type Storefront } from './views.ts';

const FILES = {
  'style.css': 'text/css; charset=utf-8',
  'live.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const;

/** Files of the pages, and the pictures of products, each drawn once. */
export function assetsOf(front: Storefront): Hono {
  const assets = new Hono();

  for (const [name, type] of Object.entries(FILES)) {
    const content = readFileSync(new URL(`./assets/${name}`, import.meta.url), 'utf8');
    assets.get(`/assets/${name}`, (c) => c.body(content, 200, { 'content-type': type, 'cache-control': 'no-cache' }));
  }

  const drawn = new Map<string, string>();
  assets.get('/pictures/:file{[\\w-]+\\.svg}', async (c) => {
    const productId = c.req.param('file').replace(/\.svg$/, '');
    if (!drawn.has(productId)) {
      const product = await productById(front, productId);
      if (!product) throw new Problem(404, 'unknown-product', `There is no product "${productId}".`);
      drawn.set(productId, picture(product));
    }
    return c.body(drawn.get(productId)!, 200, { 'content-type': 'image/svg+xml', 'cache-control': 'public, max-age=3600' });
  });

  return assets;
}
