import { html } from 'hono/html';
import { BURST_MAX } from '../../catalog/http.ts';
import { PRICE_CENTS_MAX, toDecimal } from '../../contracts/money.ts';
import type { ShownProduct } from '../read-model.ts';
import { titleOf } from '../services.ts';
import type { ProductsView } from '../views.ts';
import type { Watched } from '../watch.ts';
import { euros, longTime, plural } from './format.ts';
import type { Html } from './layout.ts';
import { warning } from './products.ts';

export const PRICES_PER_PAGE = 20;

/** A price that was just saved, and who has heard of it. */
export interface Saved {
  readonly name: string;
  readonly at: Date;
  readonly heard: readonly { readonly who: string; readonly knows: boolean | undefined }[];
}

export interface AdminView extends ProductsView {
  readonly text: string;
  readonly services: readonly Watched[];
  readonly supervised: boolean;
  readonly saved: Saved | undefined;
}

export function adminPage(view: AdminView): Html {
  return html`<div class="heading"><h1>Admin</h1></div>${warning(view.copied)}
<section aria-labelledby="services-title">
<h2 id="services-title">Services</h2>
<p class="hint">Stopping lets a service finish what it does. Killing ends it as a power cut would. Either way nothing is lost: what it misses waits for it.</p>
<ul class="services">${view.services.map((service) => serviceCard(service, view.supervised))}</ul>
</section>
<section aria-labelledby="prices-title">
<h2 id="prices-title">Prices</h2>
<div id="saved" class="saved" role="status">${view.saved ? savedText(view.saved) : ''}</div>
<form class="search" role="search" action="/admin" method="get">
<label class="quiet-text" for="q">Find a product</label>
<input id="q" type="search" name="q" value="${view.text}" placeholder="Find a product" maxlength="60">
<button class="quiet">Find</button>
</form>
<ul class="prices" id="prices">${view.products.map((product) => priceRow(product, view.text))}</ul>
<p class="hint">${view.total > view.products.length ? `${view.products.length} of ${plural(view.total, 'product')}. Find others by name.` : plural(view.total, 'product')}</p>
</section>
<section aria-labelledby="burst-title">
<h2 id="burst-title">Burst</h2>
<p class="hint">Changes prices all over the catalogue, one after another, as fast as it goes. <a href="/behind">Behind the scenes</a> shows how the others keep up.</p>
<form class="inline" method="post" action="/admin/burst">
<label for="changes">Changes</label>
<input id="changes" name="changes" type="number" min="1" max="${BURST_MAX}" value="100" required inputmode="numeric">
<button>Change prices</button>
</form>
</section>`;
}

function serviceCard({ name, answering, since, process }: Watched, supervised: boolean): Html {
  const state = answering ? 'running' : (process?.state ?? 'not answering');
  const isDown = process?.state === 'stopped' || process?.state === 'failed' || process?.state === 'waiting';
  const button = (action: string, text: string, kind: string) =>
    html`<form method="post" action="/admin/services/${name}/${action}"><button class="${kind}" aria-label="${text} ${name}">${text}</button></form>`;
  const stop = name === 'storefront' ? '' : button('stop', 'Stop', 'quiet');
  const buttons = isDown ? button('start', 'Start', '') : [stop, button('kill', 'Kill', 'danger')];
  const details = [
    ...(process?.pid ? [`process ${process.pid}`] : []),
    ...(process?.restarts ? [`came back ${plural(process.restarts, 'time')}`] : []),
  ];
  return html`<li class="service" id="service-${name}" data-up="${String(answering)}">
<h3><span class="dot" aria-hidden="true"></span>${titleOf(name)}</h3>
<p class="hint" id="state-${name}">${[`${state} since ${longTime(since)}`, ...details].join(', ')}</p>
<div class="buttons">${supervised ? buttons : ''}</div>
</li>`;
}

function priceRow({ productId, name, priceCents }: ShownProduct, text: string): Html {
  return html`<li class="price-row" id="row-${productId}">
<div class="stage"><img src="/pictures/${productId}.svg" alt="" width="48" height="48" loading="lazy"></div>
<span class="name">${name}</span>
<span class="price" id="now-${productId}">${euros(priceCents)}</span>
<form class="inline" method="post" action="/admin/products/${productId}/price">
<input type="hidden" name="q" value="${text}">
<label class="quiet-text" for="set-${productId}">New price of ${name} in euros</label>
<input id="set-${productId}" name="price" type="number" min="0.01" max="${toDecimal(PRICE_CENTS_MAX)}" step="0.01" value="${toDecimal(priceCents).toFixed(2)}" required inputmode="decimal">
<button class="quiet" aria-label="Save the price of ${name}">Save</button>
</form>
</li>`;
}

function savedText({ name, at, heard }: Saved): Html {
  return html`<p><strong>Saved in catalog at ${longTime(at)}.</strong> ${name} has its new price there; the others are told.</p>
<ul>${heard.map(({ who, knows }) => html`<li data-knows="${String(knows)}">${titleOf(who)} ${hearing(knows)}</li>`)}</ul>`;
}

function hearing(knows: boolean | undefined): string {
  if (knows === undefined) return 'is not answering; it will hear of it when it is back';
  return knows ? 'has heard of it' : 'has not heard of it yet';
}
