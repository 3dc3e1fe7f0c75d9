import { Hono, type Context } from 'hono';
import * as z from 'zod';
import { NewItem, NewQuantity } from '../basket/http.ts';
import { Burst, Delivery } from '../catalog/http.ts';
import type { BasketLine } from '../contracts/basket.ts';
import { toCents, toDecimal } from '../contracts/money.ts';
import { Quantity } from '../contracts/quantity.ts';
import { check, readJson } from '../service/http.ts';
import { NewMode } from '../gateway/http.ts';
import { Retry } from '../service/operator.ts';
import { Problem } from '../service/problem.ts';
import { NewSwitches } from '../service/switches.ts';
import { SERVICE_NAMES } from '../supervisor/messages.ts';
import type { Copied } from './freshness.ts';
import type { ShownOrder } from './orders.ts';
import type { ShownProduct } from './read-model.ts';
import {
  basketView,
  copiedBaskets,
  copiedProducts,
  everyProduct,
  orderView,
  ordersView,
  ownWrite,
  productById,
  seenLines,
  type BasketView,
  type Storefront,
} from './views.ts';
import { callerOf, visitorOf } from './visitor.ts';
import type { Watched } from './watch.ts';

/*
 * The shop for programs. Prices are decimal numbers of euros with at most two places (12.00 is 12, 9.50 is 9.5), times are
 * ISO 8601. A visitor is the header x-visitor, or a cookie. Errors are application/problem+json (RFC 9457). Requests that
 * carry the same x-requestid are applied once.
 */

const Checkout = z.object({
  /** As `GET /api/basket` shows them; without, what is shown now. */
  lines: z.array(z.object({ productId: z.string(), quantity: Quantity, unitPrice: z.number() })).optional(),
  /** What stands for a card at the gateway. */
  paymentToken: z.string().min(1).max(80).optional(),
  cardNumber: z.string().max(40).optional(),
});
const Price = z.object({ price: z.number() });
const ServiceName = z.enum(SERVICE_NAMES);
const Action = z.enum(['stop', 'kill', 'start']);

export function apiOf(front: Storefront): Hono {
  const api = new Hono();
  const { services, watch } = front;

  api.get('/products', async (c) => {
    const { products, copied } = await everyProduct(front);
    return c.json({ products: products.map(productJson), currency: 'EUR', source: 'catalog', ...copiedJson(copied) });
  });

  api.get('/basket', async (c) => c.json(basketJson(await basketView(front, visitorOf(c)))));

  api.post('/basket/items', async (c) => {
    const caller = callerOf(c);
    const item = await readJson(c, NewItem);
    const { duplicate, token } = await services.addItem(caller, item).catch(async (error: unknown) => {
      throw await explained(front, item.productId, error);
    });
    return c.json(await afterwards(caller.visitorId, token, { duplicate }));
  });

  api.put('/basket/items/:id', async (c) => {
    const caller = callerOf(c);
    const { quantity } = await readJson(c, NewQuantity);
    const { token } = await services.setQuantity(caller, { productId: c.req.param('id'), quantity });
    return c.json(await afterwards(caller.visitorId, token, {}));
  });

  api.delete('/basket/items/:id', async (c) => {
    const caller = callerOf(c);
    const { token } = await services.removeItem(caller, c.req.param('id'));
    return c.json(await afterwards(caller.visitorId, token, {}));
  });

  api.post('/checkout', async (c) => {
    const caller = callerOf(c);
    const asked = (await hasBody(c)) ? await readJson(c, Checkout) : {};
    const seen = asked.lines?.map(({ unitPrice, ...line }) => ({ ...line, unitPriceCents: centsOf(unitPrice) }));
    const lines = seen ?? seenLines((await basketView(front, caller.visitorId)).lines);
    const paymentToken = asked.cardNumber ? await services.cardToken(asked.cardNumber) : (asked.paymentToken ?? 'tok_visa');
    const { orderId, totalCents, token, duplicate } = await services.checkout(caller, { lines, paymentToken });
    const shown = await ownWrite(front, token);
    c.header('location', `/api/orders/${orderId}`);
    return c.json({ orderId, status: 'Received', total: toDecimal(totalCents), currency: 'EUR', duplicate, shown }, 202);
  });

  api.get('/orders', async (c) => {
    const { orders, copied } = await ordersView(front, visitorOf(c));
    return c.json({ orders: orders.map(orderJson), source: 'ordering', ...copiedJson(copied) });
  });

  api.get('/orders/:id', async (c) => {
    const { order, copied } = await orderView(front, c.req.param('id'), visitorOf(c));
    return c.json({ ...orderJson(order), timeline: order.steps, source: 'ordering', ...copiedJson(copied) });
  });

  api.post('/orders/:id/cancel', async (c) => {
    const { orderId, token } = await services.cancelOrder(callerOf(c), c.req.param('id'));
    return c.json({ orderId, shown: await ownWrite(front, token) }, 202);
  });

  api.post('/admin/products/:id/stock', async (c) => {
    const { pieces } = await readJson(c, Delivery);
    const { available, revision, token } = await services.deliver(callerOf(c), c.req.param('id'), pieces);
    return c.json({ productId: c.req.param('id'), stock: available, revision, token, shown: await ownWrite(front, token) });
  });

  api.get('/admin/gateway', async (c) => c.json({ mode: await services.gatewayMode() }));
  api.post('/admin/gateway', async (c) => {
    const { mode } = await readJson(c, NewMode);
    await services.setGatewayMode(mode);
    return c.json({ mode });
  });

  api.get('/admin/gateway/orders/:id', async (c) => c.json(await services.charges(c.req.param('id'))));
  api.get('/admin/books', async (c) => c.json(await services.books()));

  api.get('/admin/services/:name/operations', async (c) => {
    const trouble = await services.trouble(serviceNamed(c.req.param('name')));
    if (!trouble) throw new Problem(503, 'service-down', 'This service is not answering.');
    return c.json(trouble);
  });
  api.post('/admin/services/:name/operations/retry', async (c) => {
    const { group } = await readJson(c, Retry);
    return c.json(await services.retry(serviceNamed(c.req.param('name')), group));
  });
  api.get('/admin/services/:name/operations/audit', async (c) => c.json(await services.audit(serviceNamed(c.req.param('name')))));
  api.post('/admin/services/:name/operations/subscriptions/:subscription/replay', async (c) =>
    c.json(await services.replay(serviceNamed(c.req.param('name')), c.req.param('subscription'))),
  );
  api.post('/admin/services/:name/switches', async (c) => {
    const switches = await readJson(c, NewSwitches);
    await services.setSwitches(serviceNamed(c.req.param('name')), definedOf(switches));
    return c.json(switches);
  });

  api.post('/admin/products/:id/price', async (c) => {
    const caller = callerOf(c);
    const { price } = await readJson(c, Price);
    const { priceCents, token, ...saved } = await services.setPrice(caller, c.req.param('id'), centsOf(price));
    return c.json({
      ...saved,
      price: toDecimal(priceCents),
      changed: token !== undefined,
      token,
      shown: await ownWrite(front, token),
    });
  });

  api.post('/admin/burst', async (c) => {
    const { changes } = await readJson(c, Burst);
    return c.json(await services.burst(changes));
  });

  api.post('/admin/services/:name/:action', async (c) => {
    const name = serviceNamed(c.req.param('name'));
    const action = Action.safeParse(c.req.param('action')).data;
    if (action === undefined) throw new Problem(404, 'unknown-action', 'A service can be told to stop, kill or start.');
    return c.json(serviceJson(await obey(front, name, action)));
  });

  api.get('/behind', async (c) => {
    const copies = { products: copiedJson(await copiedProducts(front)), baskets: copiedJson(await copiedBaskets(front)) };
    return c.json({ services: watch.list().map(serviceJson), copies });
  });

  /** The basket as it is shown after a command; `shown: false` when the pages have not heard of the command yet. */
  async function afterwards(visitorId: string, token: string, more: object): Promise<object> {
    const shown = await ownWrite(front, token);
    return { ...basketJson(await basketView(front, visitorId)), ...more, shown };
  }

  return api;
}

/** Stops, kills or starts a service. The storefront itself can only be killed, for it comes back then. */
export async function obey(
  { watch }: Storefront,
  name: (typeof SERVICE_NAMES)[number],
  action: 'stop' | 'kill' | 'start',
): Promise<Watched> {
  if (name !== 'storefront') return await watch.ask(name, action);
  if (action === 'stop')
    throw new Problem(
      409,
      'storefront-stays',
      'The storefront cannot be stopped from its own page: nobody could start it again. Ctrl-C stops the shop.',
    );
  // The answer leaves before the process ends.
  if (action === 'kill') setTimeout(() => void watch.ask(name, 'kill').catch(() => undefined), 50);
  return watch.get(name);
}

/** The basket may not have heard of a product that is on show here already. */
export async function explained(front: Storefront, productId: string, error: unknown): Promise<unknown> {
  if (!(error instanceof Problem) || error.code !== 'unknown-product') return error;
  if (!(await productById(front, productId))) return new Problem(404, 'unknown-product', `There is no product "${productId}".`);
  return new Problem(
    503,
    'basket-behind',
    'The basket has not heard of this product yet. Nothing was changed; try again in a moment.',
  );
}

/** @throws Problem 422 */
export function centsOf(price: number): number {
  const cents = toCents(price);
  return check(z.int({ error: 'a price is a number from 0.01 to 100000 with at most two decimal places' }), cents);
}

/** @throws Problem 404 */
export function serviceNamed(text: string): (typeof SERVICE_NAMES)[number] {
  const name = ServiceName.safeParse(text).data;
  if (name !== undefined) return name;
  throw new Problem(404, 'unknown-service', `There is no service "${text}", only ${SERVICE_NAMES.join(', ')}.`);
}

function definedOf<T extends object>(given: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as never;
}

async function hasBody(c: Context): Promise<boolean> {
  return (await c.req.text()) !== '';
}

function orderJson({ orderId, status, items, totalCents, placedAt }: ShownOrder): object {
  return {
    orderId,
    status,
    placedAt,
    total: toDecimal(totalCents),
    currency: 'EUR',
    items: items.map(({ unitPriceCents, ...item }) => ({ ...item, unitPrice: toDecimal(unitPriceCents) })),
  };
}

function productJson({ productId, name, category, details, priceCents, stock, revision, asOf }: ShownProduct): object {
  return {
    productId,
    name,
    category,
    details,
    price: toDecimal(priceCents),
    stock,
    revision,
    asOf,
    picture: `/pictures/${productId}.svg`,
  };
}

function basketJson({ lines, pieces, totalCents, asOf, copied }: BasketView): object {
  const shown = lines.map(({ newer, ...line }) => ({
    ...lineJson(line),
    ...(newer ? { newer: { price: toDecimal(newer.priceCents), asOf: newer.asOf } } : {}),
  }));
  return {
    lines: shown,
    pieces,
    total: toDecimal(totalCents),
    currency: 'EUR',
    source: 'basket',
    changedAt: asOf,
    ...copiedJson(copied),
  };
}

function lineJson(line: BasketLine): object {
  return {
    productId: line.productId,
    name: line.name,
    quantity: line.quantity,
    unitPrice: toDecimal(line.unitPriceCents),
    priceWhenAdded: toDecimal(line.priceWhenAddedCents),
    asOf: line.priceAsOf,
  };
}

function copiedJson({ state, asOf, sentence }: Copied): object {
  return { state, asOf, sentence };
}

function serviceJson({ name, answering, since, process, report }: Watched): object {
  return {
    name,
    answering,
    since,
    state: process?.state,
    pid: process?.pid,
    restarts: process?.restarts,
    startedAt: report?.startedAt,
    published: report?.published,
    subscriptions: report?.subscriptions ?? [],
  };
}
