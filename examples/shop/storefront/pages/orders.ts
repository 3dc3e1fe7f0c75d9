import { html } from 'hono/html';
import { isCancellable } from '../../ordering/order.ts';
import type { ShownOrder, ShownStatus, Step } from '../orders.ts';
import type { OrderView } from '../views.ts';
import type { Copied } from '../freshness.ts';
import { euros, longTime, plural } from './format.ts';
import type { Html } from './layout.ts';
import { warning } from './products.ts';

/** What a status is called on a page: words follow facts. */
const WORDS: Readonly<Record<ShownStatus, string>> = {
  Received: 'Received',
  Submitted: 'Submitted',
  AwaitingValidation: 'Awaiting validation',
  StockConfirmed: 'Stock confirmed',
  Paid: 'Paid',
  Shipped: 'Shipped',
  Cancelled: 'Cancelled',
};

export function orderPage({ order, copied }: OrderView): Html {
  const { orderId, status, items, totalCents, placedAt, steps } = order;
  return html`<div class="heading"><h1>Your order</h1></div>${warning(copied)}
<div class="basket">
<section class="order" id="order" aria-labelledby="order-title">
<h2 id="order-title">Number ${short(orderId)}</h2>
<p class="status" role="status">${badge(status)} <span class="hint">placed <time datetime="${placedAt}">${longTime(new Date(placedAt))}</time></span></p>
${status === 'Received' ? html`<p class="hint">We have your order. Ordering has not said anything of it yet; this page shows it as soon as it does.</p>` : ''}
<ol class="steps" id="steps">${steps.map(step)}</ol>
${
  status !== 'Received' && isCancellable(status)
    ? html`<form method="post" action="/orders/${orderId}/cancel"><button class="danger">Cancel this order</button></form>`
    : ''
}
</section>
<section class="total" aria-labelledby="total-title">
<h2 id="total-title">Total</h2>
<p class="sum" id="sum">${euros(totalCents)}</p>
<ul class="ordered">${items.map(({ name, quantity, unitPriceCents }) => html`<li><span>${quantity} × ${name}</span> <span>${euros(quantity * unitPriceCents)}</span></li>`)}</ul>
</section>
</div>`;
}

export function ordersPage({ orders, copied }: { orders: readonly ShownOrder[]; copied: Copied }): Html {
  if (orders.length === 0) {
    return html`<div class="heading"><h1>Your orders</h1></div>${warning(copied)}
<p class="empty">You have not ordered anything yet. <a href="/basket">To your basket</a></p>`;
  }
  return html`<div class="heading"><h1>Your orders</h1></div>${warning(copied)}
<ul class="orders" id="orders">${orders.map(orderRow)}</ul>`;
}

function orderRow({ orderId, status, items, totalCents, placedAt }: ShownOrder): Html {
  const pieces = items.reduce((sum, { quantity }) => sum + quantity, 0);
  return html`<li class="order-row" id="order-${orderId}">
<a href="/orders/${orderId}">Order ${short(orderId)}</a>
${badge(status)}
<span class="hint">${plural(pieces, 'piece')}, <time datetime="${placedAt}">${longTime(new Date(placedAt))}</time></span>
<span class="price">${euros(totalCents)}</span>
${status !== 'Received' && isCancellable(status) ? html`<form method="post" action="/orders/${orderId}/cancel"><button class="link" aria-label="Cancel order ${short(orderId)}">Cancel</button></form>` : ''}
</li>`;
}

function badge(status: ShownStatus): Html {
  return html`<span class="badge" data-status="${status}">${WORDS[status]}</span>`;
}

function step({ at, status, text }: Step): Html {
  return html`<li data-status="${status ?? ''}"><time datetime="${at}">${longTime(new Date(at))}</time>
<span>${status ? html`<strong>${WORDS[status]}.</strong> ` : ''}${text}</span></li>`;
}

/** The first part of an order's id: enough to speak of it. */
export function short(orderId: string): string {
  return orderId.slice(0, 8);
}
