import { html } from 'hono/html';
import type { Topic } from '../live.ts';

export type Html = ReturnType<typeof html>;

/** Something that is said once, above the page: what was done, or why not. */
export interface Notice {
  readonly tone: 'good' | 'bad';
  readonly text: string;
}

export interface Page {
  readonly title: string;
  readonly path: '/' | '/basket' | '/orders' | '/admin' | '/behind' | '';
  /** Where this page is read anew when something has changed. */
  readonly address: string;
  /** What this page wants to hear of while it is open. */
  readonly topics: readonly Topic[];
  readonly pieces: number;
  readonly notice?: Notice | undefined;
  readonly body: Html;
  /** What the page rests on, said at its end. */
  readonly footing: Html | string;
}

export function layout({ title, path, address, topics, pieces, notice, body, footing }: Page): Html {
  const link = (to: string, text: Html | string) =>
    html`<a href="${to}" ${to === path ? html`aria-current="page"` : ''}>${text}</a>`;
  const count = html`<span class="quiet-text"> with </span>${pieces}<span class="quiet-text"> pieces</span>`;
  const basket = html`Basket<span class="pieces" id="pieces" data-none="${String(pieces === 0)}">${count}</span>`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Quayside</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
<script type="module" src="/assets/live.js"></script>
</head>
<body data-topics="${topics.join(',')}" data-address="${address}">
<a class="skip" href="#main">To the page</a>
<header class="top">
<div class="wide">
<a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="28" height="28">Quayside</a>
<nav aria-label="Pages">
${link('/', 'Shop')}
${link('/basket', basket)}
${link('/orders', 'Orders')}
${link('/admin', 'Admin')}
${link('/behind', html`<span>Behind<span class="from-tablet"> the scenes</span></span>`)}
</nav>
</div>
</header>
<main id="main" class="wide" tabindex="-1">
<div id="notice" role="status" class="notice" data-tone="${notice?.tone ?? 'good'}">${notice?.text ?? ''}</div>
${body}
</main>
<footer class="wide" id="footing">${footing}</footer>
</body>
</html>`;
}
