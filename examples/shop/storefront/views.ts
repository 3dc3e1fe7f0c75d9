import type { Bus, Freshness, SqlTransaction } from 'waybill';
import type { SeenLine } from '../basket/checkout.ts';
import type { BasketLine } from '../contracts/basket.ts';
import { Problem } from '../service/problem.ts';
import { basketCopied, LATE_MS, ordersCopied, productsCopied, type Copied } from './freshness.ts';
import type { Live } from './live.ts';
import {
  allProducts,
  basketOf,
  categories,
  findProduct,
  findProducts,
  type ProductQuery,
  type ShownProduct,
} from './read-model.ts';
import { orderOf, ordersOf, type ShownOrder } from './orders.ts';
import type { Services } from './services.ts';
import type { Watch } from './watch.ts';

/** What the storefront is made of. */
export interface Storefront {
  readonly bus: Bus<SqlTransaction>;
  readonly services: Services;
  readonly watch: Watch;
  readonly live: Live;
}

export interface ShownLine extends BasketLine {
  /** A price that the catalogue has told us of, and the basket not yet. */
  readonly newer: { readonly priceCents: number; readonly asOf: string } | undefined;
}

export interface BasketView {
  /** Of the basket that is shown; 0 for one that was never used. */
  readonly revision: number;
  readonly lines: readonly ShownLine[];
  readonly pieces: number;
  readonly totalCents: number;
  readonly asOf: string | undefined;
  readonly copied: Copied;
}

export interface ProductsView {
  readonly products: readonly ShownProduct[];
  readonly total: number;
  readonly categories: readonly string[];
  readonly copied: Copied;
}

/** Milliseconds that a page waits for this storefront to hear of what its visitor has just done. */
const OWN_WRITE_MS = 2_000;

export async function productsView(front: Storefront, query: ProductQuery): Promise<ProductsView> {
  const found = await front.bus.transaction(async (tx) => ({
    ...(await findProducts(tx, query)),
    categories: await categories(tx),
  }));
  return { ...found, copied: await copiedProducts(front) };
}

export async function everyProduct(front: Storefront): Promise<{ products: ShownProduct[]; copied: Copied }> {
  return { products: await front.bus.transaction(allProducts), copied: await copiedProducts(front) };
}

export async function productById(front: Storefront, productId: string): Promise<ShownProduct | undefined> {
  return await front.bus.transaction((tx) => findProduct(tx, productId));
}

export async function basketView(front: Storefront, visitorId: string, now = new Date()): Promise<BasketView> {
  const copied = await copiedBaskets(front, now);
  return await front.bus.transaction(async (tx) => {
    const { lines, asOf, revision } = await basketOf(tx, visitorId);
    const shown: ShownLine[] = [];
    for (const line of lines)
      shown.push({ ...line, newer: newerPrice(line, await findProduct(tx, line.productId), copied, now) });
    return {
      revision,
      lines: shown,
      pieces: pieces(lines),
      totalCents: lines.reduce((sum, line) => sum + line.quantity * line.unitPriceCents, 0),
      asOf,
      copied,
    };
  });
}

/** What is ordered is what was seen. */
export function seenLines(lines: readonly BasketLine[]): SeenLine[] {
  return lines.map(({ productId, quantity, unitPriceCents }) => ({ productId, quantity, unitPriceCents }));
}

/** How much the visitor has in the basket, for the top of every page. */
export async function piecesOf(front: Storefront, visitorId: string): Promise<number> {
  return pieces((await front.bus.transaction((tx) => basketOf(tx, visitorId))).lines);
}

function pieces(lines: readonly BasketLine[]): number {
  return lines.reduce((sum, line) => sum + line.quantity, 0);
}

/** Orders on one page. */
const ORDERS_MAX = 50;

export interface OrderView {
  readonly order: ShownOrder;
  readonly copied: Copied;
}

/** @throws Problem 404 when it is no order of this visitor, or nothing has been heard of it yet */
export async function orderView(front: Storefront, orderId: string, visitorId: string): Promise<OrderView> {
  const order = await front.bus.transaction((tx) => orderOf(tx, orderId, visitorId));
  if (!order) throw new Problem(404, 'unknown-order', `There is no order "${orderId}" of yours here.`);
  return { order, copied: await copiedOrders(front) };
}

export async function ordersView(front: Storefront, visitorId: string): Promise<{ orders: ShownOrder[]; copied: Copied }> {
  return { orders: await front.bus.transaction((tx) => ordersOf(tx, visitorId, ORDERS_MAX)), copied: await copiedOrders(front) };
}

/** Waits a moment until this storefront's own copy holds what the token stands for; false when it does not yet. */
export async function ownWrite(front: Storefront, token: string | undefined): Promise<boolean> {
  return token === undefined || (await front.bus.caughtUp(token, { timeoutMs: OWN_WRITE_MS }));
}

export async function copiedProducts(front: Storefront, now = new Date()): Promise<Copied> {
  return productsCopied({ now, copy: await freshnessOf(front, 'catalog'), catalog: front.watch.get('catalog') });
}

export async function copiedBaskets(front: Storefront, now = new Date()): Promise<Copied> {
  return basketCopied({
    now,
    copy: await freshnessOf(front, 'basket'),
    basket: front.watch.get('basket'),
    catalog: front.watch.get('catalog'),
  });
}

export async function copiedOrders(front: Storefront, now = new Date()): Promise<Copied> {
  return ordersCopied({ now, copy: await freshnessOf(front, 'ordering'), ordering: front.watch.get('ordering') });
}

const VIEW_OF: Readonly<Record<string, string>> = { catalog: 'product-view', basket: 'basket-changed', ordering: 'order-view' };

async function freshnessOf({ bus }: Storefront, source: string): Promise<Freshness | undefined> {
  return (await bus.freshness(source)).find(({ subscription }) => subscription.includes(VIEW_OF[source]!));
}

/** Said only when the basket is late: in the blink between the two events it would only flicker. */
function newerPrice(line: BasketLine, product: ShownProduct | undefined, copied: Copied, now: Date): ShownLine['newer'] {
  if (!product || product.revision <= line.priceRevision || product.priceCents === line.unitPriceCents) return undefined;
  const isLate = copied.state !== 'current' || now.getTime() - Date.parse(product.asOf) > LATE_MS;
  return isLate ? { priceCents: product.priceCents, asOf: product.asOf } : undefined;
}
