import { html } from 'hono/html';
import type { Report, SubscriptionReport } from '../../service/measure.ts';
import { LATE_MS, type Copied } from '../freshness.ts';
import { titleOf } from '../services.ts';
import type { Watched } from '../watch.ts';
import { count, longTime, plural, span } from './format.ts';
import type { Html } from './layout.ts';

export interface BehindView {
  readonly services: readonly Watched[];
  readonly products: Copied;
  readonly baskets: Copied;
}

/** For the business owner: what the shop decides on, and how old that may be. */
export function behindPage({ services, products, baskets }: BehindView): Html {
  const rows = services.flatMap(({ report }) => report?.subscriptions ?? []);
  return html`<div class="heading"><h1>Behind the scenes</h1></div>
<p class="lead">Each service has a database of its own and tells the others what happened. They hear of it a moment later. This page says how long such a moment is.</p>
<div class="figures" id="figures">
${figure('Usual delay', worst(rows, 'p95Ms'), '95 of 100 events took less, in the slowest place')}
${figure('Longest delay', worst(rows, 'worstMs'), worstWhen(rows))}
${waitingFigure(services, rows)}
${figure('Applied', count(sum(rows, 'applied')), `${plural(sum(rows, 'duplicates'), 'duplicate')} and ${count(sum(rows, 'stale'))} stale dropped`)}
</div>
<ul class="sentences" id="sentences">
<li data-state="${products.state}"><span class="dot" aria-hidden="true"></span><span><strong>Product pages.</strong> ${products.sentence}</span></li>
<li data-state="${baskets.state}"><span class="dot" aria-hidden="true"></span><span><strong>Baskets.</strong> ${baskets.sentence}</span></li>
<li data-state="current"><span class="dot" aria-hidden="true"></span><span><strong>What is decided on older data.</strong>
A basket may show a price that is some milliseconds old. It keeps the price of the moment you added something, and tells
you when it has changed.</span></li>
</ul>
${services.map(serviceSection)}`;
}

/** A service that does not answer cannot say what waits for it. */
function waitingFigure(services: readonly Watched[], rows: readonly SubscriptionReport[]): Html {
  const silent = services.filter(({ answering }) => !answering).map(({ name }) => titleOf(name));
  if (silent.length > 0)
    return figure('Waiting now', 'unknown', `${silent.join(' and ')} cannot say while not answering; what is told waits`);
  return figure('Waiting now', count(sum(rows, 'waiting')), 'events told and not yet taken over');
}

function figure(title: string, value: string, explained: string): Html {
  return html`<div class="figure"><h2>${title}</h2><p class="value">${value}</p><p class="hint">${explained}</p></div>`;
}

function serviceSection({ name, answering, since, report }: Watched): Html {
  return html`<section class="teller" id="teller-${name}" data-up="${String(answering)}" aria-labelledby="teller-title-${name}">
<h2 id="teller-title-${name}"><span class="dot" aria-hidden="true"></span>${titleOf(name)}</h2>
<p class="hint">${answering ? 'Answering' : 'Silent'} since ${longTime(since)}. ${report ? told(report, answering) : ''}</p>
${!report ? '' : report.subscriptions.length === 0 ? html`<p>It listens to nobody.</p>` : table(report.subscriptions, name, answering)}
</section>`;
}

function told({ published, startedAt }: Report, answering: boolean): string {
  return `It ${answering ? 'has told' : 'had told'} of ${plural(published, 'event')} since it started at ${longTime(new Date(startedAt))}.`;
}

const COLUMNS = ['Listens to', 'State', 'Waiting', 'p95', 'Worst', 'Applied', 'Stale', 'Duplicates'];

function table(rows: readonly SubscriptionReport[], name: string, answering: boolean): Html {
  return html`<div class="scroll" role="region" tabindex="0" aria-label="What ${name} listens to">
<table>
<thead><tr>${COLUMNS.map((column) => html`<th scope="col">${column}</th>`)}</tr></thead>
<tbody>${rows.map(
    (row) => html`<tr data-state="${row.state}">
<th scope="row">${short(row.subscription, name)} <span class="hint">from ${row.source}</span></th>
<td>${answering ? stateText(row) : 'unknown'}</td><td>${row.waiting === undefined || !answering ? '–' : count(row.waiting)}</td>
<td>${ms(row.p95Ms)}</td><td>${ms(row.worstMs)}</td><td>${count(row.applied)}</td><td>${count(row.stale)}</td><td>${count(row.duplicates)}</td></tr>`,
  )}</tbody>
</table>
</div>`;
}

function stateText({ state, appliedUntil }: SubscriptionReport): string {
  const behindMs = appliedUntil === undefined ? 0 : Date.now() - Date.parse(appliedUntil);
  return state === 'behind' && behindMs > LATE_MS ? `${span(behindMs)} behind` : state;
}

/** `basket.catalog.product-added` → `catalog.product-added` */
function short(subscription: string, service: string): string {
  return subscription.replace(`${service}.`, '');
}

function ms(value: number | undefined): string {
  return value === undefined ? '–' : span(value);
}

function sum(rows: readonly SubscriptionReport[], field: 'waiting' | 'applied' | 'stale' | 'duplicates'): number {
  return rows.reduce((total, row) => total + (row[field] ?? 0), 0);
}

function worst(rows: readonly SubscriptionReport[], field: 'p95Ms' | 'worstMs'): string {
  const values = rows.flatMap((row) => row[field] ?? []);
  return values.length === 0 ? '–' : span(Math.max(...values));
}

function worstWhen(rows: readonly SubscriptionReport[]): string {
  const [slowest] = rows.toSorted((a, b) => (b.worstMs ?? 0) - (a.worstMs ?? 0));
  if (slowest?.worstAt === undefined) return 'nothing was told yet';
  return `${slowest.subscription.split('.', 1)[0]} at ${longTime(new Date(slowest.worstAt))}, since the services started`;
}
