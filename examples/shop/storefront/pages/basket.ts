import { html } from 'hono/html';
import { hasNewPrice } from '../../contracts/basket.ts';
import { QUANTITY_MAX } from '../../contracts/quantity.ts';
import { seenLines, type BasketView, type ShownLine } from '../views.ts';
import { euros, longTime, plural } from './format.ts';
import type { Html } from './layout.ts';
import { warning } from './products.ts';

/** A number that gateways keep for trials. */
const TRIAL_CARD = '4242 4242 4242 4242';

export function basketPage({ lines, pieces, totalCents, copied, revision }: BasketView): Html {
  if (lines.length === 0) {
    return html`<div class="heading"><h1>Your basket</h1></div>${warning(copied)}
<p class="empty">There is nothing in it yet. <a href="/">Look around the shop</a></p>`;
  }
  return html`<div class="heading"><h1>Your basket</h1></div>${warning(copied)}
<div class="basket">
<ul class="lines" id="lines">${lines.map(basketLine)}</ul>
<section class="total" aria-labelledby="total-title">
<h2 id="total-title">Total</h2>
<p class="sum" id="sum">${euros(totalCents)}</p>
<p class="hint" id="pieces-said">${plural(pieces, 'piece')} of ${plural(lines.length, 'product')}</p>
<form class="checkout" id="checkout" method="post" action="/checkout">
<input type="hidden" name="lines" value="${JSON.stringify(seenLines(lines))}">
<input type="hidden" name="requestId" value="basket-${revision}">
<label for="card">Card number</label>
<input id="card" name="cardNumber" inputmode="numeric" autocomplete="cc-number" required pattern="[0-9 ]{12,30}" value="${TRIAL_CARD}">
<button>Order for ${euros(totalCents)}</button>
</form>
<p class="hint">For trying: 4242 4242 4242 4242 pays, 4000 0000 0000 0002 is declined. The number goes to the payment gateway and nowhere else.</p>
</section>
</div>`;
}

function basketLine(line: ShownLine): Html {
  const { productId, name, quantity, unitPriceCents, priceAsOf, newer } = line;
  return html`<li class="line" id="line-${productId}">
<div class="stage"><img src="/pictures/${productId}.svg" alt="" width="96" height="96"></div>
<div class="line-text">
<h2>${name}</h2>
<p class="unit" id="unit-${productId}"><span class="price">${euros(unitPriceCents)}</span> each
<span class="hint">since <time datetime="${priceAsOf}">${longTime(new Date(priceAsOf))}</time></span></p>
</div>
<div class="line-forms">
<form class="quantity" method="post" action="/basket/items/${productId}/quantity">
<label class="quiet-text" for="quantity-${productId}">Pieces of ${name}</label>
<input id="quantity-${productId}" name="quantity" type="number" min="1" max="${QUANTITY_MAX}" value="${quantity}" required inputmode="numeric">
<button class="quiet" aria-label="Set the pieces of ${name}">Set</button>
</form>
<form method="post" action="/basket/items/${productId}/remove"><button class="link" aria-label="Remove ${name}">Remove</button></form>
</div>
<p class="line-sum" id="line-sum-${productId}">${euros(quantity * unitPriceCents)}</p>
<p class="alert" role="status" id="alert-${productId}" data-way="${way(line)}">${alertText(line)}</p>
${newer ? html`<p class="newer" id="newer-${productId}">Catalog has said ${euros(newer.priceCents)} since ${longTime(new Date(newer.asOf))}. The basket has not heard of it yet.</p>` : ''}
</li>`;
}

/** Stays in the page when there is nothing to say, so that a reader of the screen hears it when there is. */
function alertText(line: ShownLine): Html | '' {
  if (!hasNewPrice(line)) return '';
  const { priceWhenAddedCents, unitPriceCents } = line;
  const [was, now] = [euros(priceWhenAddedCents), euros(unitPriceCents)];
  return html`<span class="alert-mark" aria-hidden="true">${way(line) === 'down' ? '↓' : '↑'}</span>
<span>The price has changed: was <s>${was}</s> when you added it, now <strong>${now}</strong>.</span>`;
}

function way({ unitPriceCents, priceWhenAddedCents }: ShownLine): 'up' | 'down' {
  return unitPriceCents < priceWhenAddedCents ? 'down' : 'up';
}
