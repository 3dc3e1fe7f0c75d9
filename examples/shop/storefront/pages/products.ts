import { html } from 'hono/html';
import type { Copied } from '../freshness.ts';
import type { ShownProduct } from '../read-model.ts';
import type { ProductsView } from '../views.ts';
import { euros, plural } from './format.ts';
import type { Html } from './layout.ts';

export const PRODUCTS_PER_PAGE = 24;
/** Below this many pieces the shop says how many are left. */
const FEW = 8;

export interface ProductsQuery {
  readonly text: string;
  readonly category: string;
  readonly page: number;
}

export function productsPage({ products, total, categories, copied }: ProductsView, query: ProductsQuery): Html {
  return html`
<div class="heading">
<h1>${query.category || 'Good things for home and trail'}</h1>
<form class="search" role="search" action="/" method="get">
${query.category ? html`<input type="hidden" name="category" value="${query.category}">` : ''}
<label class="quiet-text" for="q">Search products</label>
<input id="q" type="search" name="q" value="${query.text}" placeholder="Search" maxlength="60">
<button class="quiet">Search</button>
</form>
</div>
${warning(copied)}
<nav class="chips" aria-label="Categories">
${['', ...categories].map((category) => html`<a href="${address({ ...query, category, page: 1 })}" ${category === query.category ? html`aria-current="true"` : ''}>${category || 'Everything'}</a>`)}
</nav>
${products.length === 0 ? html`<p class="empty">${query.text ? `Nothing here is called “${query.text}”.` : 'There is nothing here.'} <a href="/">Show everything</a></p>` : ''}
<ul class="cards" id="cards">${products.map(card)}</ul>
${pager(query, total)}`;
}

function card(product: ShownProduct): Html {
  const { productId, name, details, priceCents, stock, category } = product;
  return html`<li class="card" id="card-${productId}">
<div class="stage" data-category="${category}"><img src="/pictures/${productId}.svg" alt="" width="240" height="240" loading="lazy"></div>
<div class="card-text">
<h2>${name}</h2>
<p class="details">${details}</p>
${stock <= FEW ? html`<p class="few">Only ${plural(stock, 'piece')} left</p>` : ''}
</div>
<form class="add" method="post" action="/basket/items" data-add>
<input type="hidden" name="productId" value="${productId}">
<input type="hidden" name="quantity" value="1">
<span class="price" id="price-${productId}">${euros(priceCents)}</span>
<button aria-label="Add ${name} to the basket">Add</button>
</form>
</li>`;
}

function pager(query: ProductsQuery, total: number): Html | '' {
  const pages = Math.ceil(total / PRODUCTS_PER_PAGE);
  if (pages <= 1) return '';
  const numbers = Array.from({ length: pages }, (_, i) => i + 1);
  const link = (page: number) =>
    html`<a href="${address({ ...query, page })}" aria-label="Page ${page} of ${pages}" ${page === query.page ? html`aria-current="page"` : ''}>${page}</a>`;
  return html`<nav class="pager" aria-label="More products">${numbers.map(link)}</nav>`;
}

function address({ text, category, page }: ProductsQuery): string {
  const params = new URLSearchParams();
  if (category) params.set('category', category);
  if (text) params.set('q', text);
  if (page > 1) params.set('page', String(page));
  return params.size > 0 ? `/?${params}` : '/';
}

/** What a page with copied data says at its end. */
export function footing(copied: Copied): Html {
  return html`<p class="footing" data-state="${copied.state}"><span class="dot" aria-hidden="true"></span>${copied.sentence} <a href="/behind">How this works</a></p>`;
}

/** The same, said above the page, when what it shows is not what it should be. */
export function warning(copied: Copied): Html {
  return html`<div id="warning" role="status" class="warning" data-state="${copied.state}">${copied.state === 'current' ? '' : copied.sentence}</div>`;
}
