import { Hono, type Context } from 'hono';
import { html } from 'hono/html';
import * as z from 'zod';
import { LINES_MAX } from '../basket/basket.ts';
import { BURST_MAX } from '../catalog/http.ts';
import { PriceCents } from '../contracts/money.ts';
import { Quantity } from '../contracts/quantity.ts';
import { MODES } from '../gateway/books.ts';
import { asProblem, check } from '../service/http.ts';
import { problemResponse, type Problem } from '../service/problem.ts';
import { SERVICE_NAMES, type ServiceName } from '../supervisor/messages.ts';
import { centsOf, explained, obey, serviceNamed } from './api.ts';
import { adminPage, PRICES_PER_PAGE, type Saved, type ServiceTrouble } from './pages/admin.ts';
import { basketPage } from './pages/basket.ts';
import { behindPage } from './pages/behind.ts';
import { orderPage, ordersPage } from './pages/orders.ts';
import { layout, type Html, type Notice, type Page } from './pages/layout.ts';
import { footing, PRODUCTS_PER_PAGE, productsPage } from './pages/products.ts';
import {
  basketView,
  copiedBaskets,
  copiedProducts,
  orderView,
  ordersView,
  ownWrite,
  piecesOf,
  productById,
  productsView,
  type Storefront,
} from './views.ts';
import { callerOf, visitorOf } from './visitor.ts';

const Pieces = z.coerce.number().pipe(Quantity);
const SeenLines = z.array(z.object({ productId: z.string(), quantity: Quantity, unitPriceCents: PriceCents })).max(LINES_MAX);
const SlowMs = z.coerce.number().pipe(z.int().min(0).max(10_000));
const Changes = z.coerce.number().pipe(z.int().min(1).max(BURST_MAX));
const TEXT_LENGTH_MAX = 60;
const UNCHANGED: Notice = { tone: 'good', text: 'That is the price already, so nothing was changed and nobody was told.' };

/** The shop for people. Every page works by forms and reload; assets/live.js makes it live. */
export function pagesOf(front: Storefront): Hono {
  const pages = new Hono();
  const { bus, services, watch } = front;

  // --- pages ---

  const shop = async (c: Context, notice?: Notice): Promise<Html> => {
    const query = { text: word(c, 'q'), category: word(c, 'category'), page: pageNumber(c) };
    const view = await productsView(front, { ...query, offset: (query.page - 1) * PRODUCTS_PER_PAGE, limit: PRODUCTS_PER_PAGE });
    return await page(c, {
      title: 'Shop',
      path: '/',
      topics: ['products', 'basket', 'status'],
      body: productsPage(view, query),
      footing: footing(view.copied),
      notice,
    });
  };

  const basket = async (c: Context, notice?: Notice): Promise<Html> => {
    const view = await basketView(front, visitorOf(c));
    return await page(c, {
      title: 'Basket',
      path: '/basket',
      topics: ['basket', 'products', 'status'],
      body: basketPage(view),
      footing: footing(view.copied),
      notice,
    });
  };

  const order = async (c: Context, notice?: Notice): Promise<Html> => {
    const orderId = c.req.param('id') ?? '';
    const view = await orderView(front, orderId, visitorOf(c));
    return await page(c, {
      title: 'Order',
      path: '/orders',
      at: `/orders/${orderId}`,
      topics: ['orders', 'basket', 'status'],
      body: orderPage(view),
      footing: footing(view.copied),
      notice,
    });
  };

  const orders = async (c: Context, notice?: Notice): Promise<Html> => {
    const view = await ordersView(front, visitorOf(c));
    return await page(c, {
      title: 'Orders',
      path: '/orders',
      topics: ['orders', 'basket', 'status'],
      body: ordersPage(view),
      footing: footing(view.copied),
      notice,
    });
  };

  const admin = async (c: Context, notice?: Notice): Promise<Html> => {
    const text = word(c, 'q');
    const view = await productsView(front, { text, category: '', offset: 0, limit: PRICES_PER_PAGE });
    const body = adminPage({
      ...view,
      text,
      services: watch.list(),
      supervised: watch.supervised,
      saved: await savedPrice(c),
      troubles: await troubles(),
      gatewayMode: await services.gatewayMode(),
    });
    return await page(c, {
      title: 'Admin',
      path: '/admin',
      topics: ['products', 'basket', 'status', 'tick'],
      body,
      footing: footing(view.copied),
      notice,
    });
  };

  pages.get('/', async (c) => c.html(await shop(c)));
  pages.get('/basket', async (c) => c.html(await basket(c)));
  pages.get('/orders', async (c) => c.html(await orders(c)));
  pages.get('/orders/:id', async (c) => c.html(await order(c)));
  pages.get('/admin', async (c) => c.html(await admin(c, said(c))));
  pages.get('/behind', async (c) => {
    const view = { services: watch.list(), products: await copiedProducts(front), baskets: await copiedBaskets(front) };
    return c.html(
      await page(c, {
        title: 'Behind the scenes',
        path: '/behind',
        topics: ['tick', 'status'],
        body: behindPage(view),
        footing: 'Figures begin anew when a service starts.',
      }),
    );
  });

  // --- forms: do it and show the page anew, or say on the same page why not ---

  pages.post('/basket/items', (c) =>
    form(c, shop, async (fields) => {
      const item = { productId: fields('productId'), quantity: check(Pieces, fields('quantity')) };
      const { token } = await services.addItem(callerOf(c), item).catch(async (error: unknown) => {
        throw await explained(front, item.productId, error);
      });
      await ownWrite(front, token);
      return '/basket';
    }),
  );

  pages.post('/basket/items/:id/quantity', (c) =>
    form(c, basket, async (fields) => {
      const { token } = await services.setQuantity(callerOf(c), {
        productId: c.req.param('id'),
        quantity: check(Pieces, fields('quantity')),
      });
      await ownWrite(front, token);
      return '/basket';
    }),
  );

  pages.post('/basket/items/:id/remove', (c) =>
    form(c, basket, async () => {
      const { token } = await services.removeItem(callerOf(c), c.req.param('id'));
      await ownWrite(front, token);
      return '/basket';
    }),
  );

  pages.post('/checkout', (c) =>
    form(c, basket, async (fields) => {
      const caller = { ...callerOf(c), requestId: fields('requestId') };
      const lines = check(SeenLines, parsed(fields('lines')));
      const paymentToken = await services.cardToken(fields('cardNumber'));
      const { orderId, token } = await services.checkout(caller, { lines, paymentToken });
      await ownWrite(front, token);
      return `/orders/${orderId}`;
    }),
  );

  pages.post('/orders/:id/cancel', (c) =>
    form(c, orders, async () => {
      const { orderId, token } = await services.cancelOrder(callerOf(c), c.req.param('id'));
      await ownWrite(front, token);
      return `/orders/${orderId}`;
    }),
  );

  pages.post('/admin/gateway', (c) =>
    form(c, admin, async (fields) => {
      await services.setGatewayMode(check(z.enum(MODES), fields('mode')));
      return '/admin#failures-on-purpose';
    }),
  );

  pages.post('/admin/services/:name/switches', (c) =>
    form(c, admin, async (fields) => {
      const switches = fields('slowMs') === '' ? { throwNext: 1 } : { slowMs: check(SlowMs, fields('slowMs')) };
      await services.setSwitches(serviceNamed(c.req.param('name')), switches);
      return '/admin#failures-on-purpose';
    }),
  );

  pages.post('/admin/services/:name/retry', (c) =>
    form(c, admin, async (fields) => {
      await services.retry(serviceNamed(c.req.param('name')), fields('group'));
      return '/admin#trouble';
    }),
  );

  pages.post('/admin/services/:name/replay', (c) =>
    form(c, admin, async (fields) => {
      const { read, known, added } = await services.replay(serviceNamed(c.req.param('name')), fields('subscription'));
      return `/admin?${new URLSearchParams({ read: String(read), known: String(known), added: String(added) })}`;
    }),
  );

  pages.post('/admin/products/:id/price', (c) =>
    form(c, admin, async (fields) => {
      const productId = c.req.param('id');
      const { token, savedAt } = await services.setPrice(callerOf(c), productId, centsOf(Number(fields('price') || Number.NaN)));
      const q: Record<string, string> = fields('q') ? { q: fields('q') } : {};
      if (token === undefined) return `/admin?${new URLSearchParams({ ...q, unchanged: productId })}#row-${productId}`;
      await ownWrite(front, token);
      return `/admin?${new URLSearchParams({ ...q, saved: productId, at: savedAt, token })}#saved`;
    }),
  );

  pages.post('/admin/burst', (c) =>
    form(c, admin, async (fields) => {
      await services.burst(check(Changes, fields('changes')));
      return '/behind';
    }),
  );

  for (const action of ['stop', 'kill', 'start'] as const) {
    pages.post(`/admin/services/:name/${action}`, (c) =>
      form(c, admin, async () => {
        const name = serviceNamed(c.req.param('name'));
        await obey(front, name, action);
        return `/admin#service-${name}`;
      }),
    );
  }

  // --- what they share ---

  /** What waits and what was given up, of every service that says so. */
  async function troubles(): Promise<ServiceTrouble[]> {
    const named = SERVICE_NAMES.filter((name) => name !== 'gateway' && watch.get(name).answering);
    const said = await Promise.all(named.map(async (name) => ({ name, trouble: await services.trouble(name) })));
    return said.flatMap(({ name, trouble }) => (trouble ? [{ name, ...trouble }] : []));
  }

  async function page(c: Context, { at, ...given }: Omit<Page, 'pieces' | 'address'> & { at?: string }): Promise<Html> {
    // The answer to a form that failed stands at the form's address; the page itself is elsewhere.
    const { pathname, search } = new URL(c.req.url);
    const address = c.req.method === 'GET' ? pathname + search : (at ?? given.path);
    return layout({ ...given, address, pieces: await piecesOf(front, visitorOf(c)) });
  }

  async function form(
    c: Context,
    again: (c: Context, notice: Notice) => Promise<Html>,
    work: (fields: (name: string) => string) => Promise<string>,
  ): Promise<Response> {
    try {
      const body = await c.req.parseBody();
      return c.redirect(await work((name) => (typeof body[name] === 'string' ? body[name] : '')), 303);
    } catch (error) {
      const problem = asProblem(error);
      return c.html(await again(c, { tone: 'bad', text: problem.detail }), problem.status);
    }
  }

  /** What became of the price that was saved on the page before this one: who has heard of it by now. */
  async function savedPrice(c: Context): Promise<Saved | undefined> {
    const { saved, at, token } = c.req.query();
    const savedAt = new Date(at ?? '');
    if (saved === undefined || token === undefined || Number.isNaN(savedAt.getTime())) return undefined;
    const product = await productById(front, saved);
    const knows = async (name: ServiceName): Promise<boolean | undefined> =>
      name === 'storefront'
        ? await bus.caughtUp(token, { timeoutMs: 0 }).catch(() => undefined)
        : await services.knows(name, token);
    const heard = await Promise.all((['storefront', 'basket'] as const).map(async (who) => ({ who, knows: await knows(who) })));
    return product && { name: product.name, at: savedAt, heard };
  }

  return pages;
}

/** A problem as a page for people, as JSON for programs. */
export async function problemPage(front: Storefront, c: Context, problem: Problem): Promise<Response> {
  const forPeople = !c.req.path.startsWith('/api/') && (c.req.header('accept') ?? '').includes('text/html');
  if (!forPeople) return problemResponse(c, problem);
  const pieces = await piecesOf(front, visitorOf(c)).catch(() => 0);
  const body = html`<div class="heading"><h1>${problem.status === 404 ? 'There is nothing here' : 'That did not work'}</h1></div><p class="empty">${problem.detail} <a href="/">To the shop</a></p>`;
  return c.html(layout({ title: 'Sorry', path: '', address: '/', topics: [], pieces, body, footing: '' }), problem.status);
}

/** What the form before this page has done, where the page itself does not show it. */
function said(c: Context): Notice | undefined {
  const { unchanged, read, known, added } = c.req.query();
  if (unchanged !== undefined) return UNCHANGED;
  if (![read, known, added].every((number) => /^\d{1,9}$/.test(number ?? ''))) return undefined;
  return { tone: 'good', text: `Heard ${read} messages again: ${known} were known and left out, ${added} were applied.` };
}

/** A hidden field that holds JSON; anything else fits no schema. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function word(c: Context, name: string): string {
  return (c.req.query(name) ?? '').slice(0, TEXT_LENGTH_MAX);
}

function pageNumber(c: Context): number {
  const page = Number(c.req.query('page') ?? 1);
  return Number.isInteger(page) && page >= 1 && page <= 1_000 ? page : 1;
}
