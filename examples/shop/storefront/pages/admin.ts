import { html } from 'hono/html';
import { BURST_MAX } from '../../catalog/http.ts';
import { PRICE_CENTS_MAX, toDecimal } from '../../contracts/money.ts';
import { MODES, type Mode } from '../../gateway/books.ts';
import type { Trouble } from '../../service/operator.ts';
import type { ServiceName } from '../../supervisor/messages.ts';
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

export interface ServiceTrouble extends Trouble {
  readonly name: ServiceName;
}

export interface AdminView extends ProductsView {
  readonly troubles: readonly ServiceTrouble[];
  /** Undefined when the gateway does not answer. */
  readonly gatewayMode: Mode | undefined;
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
<section aria-labelledby="trouble">
<h2 id="trouble">What waits, and what was given up</h2>
${troubleLists(view.troubles)}
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
<section aria-labelledby="failures-on-purpose">
<h2 id="failures-on-purpose">Failures on purpose</h2>
<p class="hint">Whatever is switched on here, no order is lost and nobody pays twice.</p>
<div class="switches">
<form class="inline" method="post" action="/admin/gateway">
<label for="mode">The payment gateway</label>
<select id="mode" name="mode">${MODES.map((mode) => html`<option value="${mode}" ${mode === view.gatewayMode ? html`selected` : ''}>${MODE_WORDS[mode]}</option>`)}</select>
<button class="quiet">Set</button>
</form>
<form class="inline" method="post" action="/admin/services/basket/switches"><span>The basket</span><button class="quiet">Fails on its next event</button></form>
<form class="inline" method="post" action="/admin/services/basket/switches">
<label for="slow">The basket takes longer for each event, by milliseconds</label>
<input id="slow" name="slowMs" type="number" min="0" max="10000" value="0" required inputmode="numeric">
<button class="quiet">Set</button>
</form>
</div>
</section>
<section aria-labelledby="replay-title">
<h2 id="replay-title">Replay</h2>
<p class="hint">Lets a subscription hear everything again from the beginning. What it has applied is left out, so nothing changes.</p>
<form class="inline" method="post" action="/admin/services/basket/replay">
<label for="replayed">Subscription of the basket</label>
<select id="replayed" name="subscription">${subscriptionsOf(view.services, 'basket').map((name) => html`<option>${name}</option>`)}</select>
<button class="quiet">Replay</button>
</form>
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

/** How the gateway can be told to behave, in words. */
const MODE_WORDS: Readonly<Record<Mode, string>> = {
  normal: 'works',
  declines: 'declines every card',
  fails: 'answers nobody',
  'charges-and-fails': 'charges, and does not say so',
};

function troubleLists(troubles: readonly ServiceTrouble[]): Html {
  const waiting = troubles.flatMap(({ name, waiting: rows }) => rows.map((row) => ({ name, ...row })));
  const groups = troubles.flatMap(({ name, groups: rows }) => rows.map((row) => ({ name, ...row })));
  if (waiting.length === 0 && groups.length === 0) return html`<p id="no-trouble">Nothing.</p>`;
  return html`<ul class="trouble" id="waiting">${waiting.map(
    (row) => html`<li><strong>${titleOf(row.name)}</strong> ${row.reason === 'delayed' ? 'sends' : 'tries'} ${row.type} at ${longTime(new Date(row.dueAt))}${row.reason === 'delayed' ? '' : `, attempt ${row.attempt + 1} of ${row.attempts}`}.
${row.error ? html`<span class="hint">${row.error}</span>` : ''}</li>`,
  )}</ul>
<ul class="trouble" id="groups">${groups.map(
    (row) => html`<li><strong>${titleOf(row.name)}</strong> has given up ${plural(row.count, 'message')} of ${row.type}. <span class="hint">${row.message}</span>
<form method="post" action="/admin/services/${row.name}/retry"><input type="hidden" name="group" value="${row.group}"><button class="quiet" aria-label="Retry ${row.type}">Retry</button></form></li>`,
  )}</ul>`;
}

function subscriptionsOf(services: readonly Watched[], name: ServiceName): string[] {
  const rows = services.find((service) => service.name === name)?.report?.subscriptions ?? [];
  return [...new Set(rows.map(({ subscription }) => subscription))];
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
