/**
 * Makes pages live. The server says which part of what it shows has changed; the page is then read anew and only what
 * differs is replaced, so that focus, scroll and what somebody is typing stay. Without this file everything works by forms
 * and reload.
 */

/** Milliseconds between two readings of the page at least. */
const EVERY_MS = 250;

const { topics, address } = document.body.dataset;
let wanted = false;
let reading = false;

let events;

if (topics) {
  listen();
  // A browser has few connections for one site: a page that nobody sees gives its own back, and catches up when it is seen.
  document.addEventListener('visibilitychange', () => {
    events?.close();
    if (document.visibilityState === 'visible') listen();
  });
}

function listen() {
  events = new EventSource(`/live?topics=${topics}`);
  for (const topic of topics.split(',')) events.addEventListener(topic, refresh);
  // What happened between the reading of the page and this moment, or while the connection was lost, nobody has told.
  events.addEventListener('open', refresh);
}

function refresh() {
  wanted = true;
  if (!reading) void read();
}

async function read() {
  reading = true;
  while (wanted) {
    wanted = false;
    try {
      const response = await fetch(address, { headers: { accept: 'text/html' } });
      if (response.ok) show(new DOMParser().parseFromString(await response.text(), 'text/html'));
    } catch {
      // The storefront is away; the event stream says when it is back.
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
  reading = false;
}

function show(page) {
  for (const id of ['main', 'pieces', 'footing']) {
    const [from, to] = [document.getElementById(id), page.getElementById(id)];
    if (from && to) become(from, to);
  }
}

/** Makes one node like another, touching only what differs. */
function become(from, to) {
  // What was said about something the visitor just did stays until the next thing is done.
  if (from.id === 'notice' || from.isEqualNode(to)) return;
  if (from.nodeName !== to.nodeName || from.id !== to.id) return from.replaceWith(to);
  if (from.nodeType !== Node.ELEMENT_NODE) return void (from.nodeValue = to.nodeValue);
  const untouched = from.value === from.defaultValue;
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name)) from.removeAttribute(name);
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  // What somebody has typed and not sent yet is theirs.
  if (from.nodeName === 'INPUT' && untouched) from.value = from.defaultValue;
  const old = [...from.childNodes];
  const fresh = [...to.childNodes];
  const byId = new Map(old.filter((node) => node.id).map((node) => [node.id, node]));
  fresh.forEach((node, i) => {
    const same = (node.id && byId.get(node.id)) || (old[i] && !old[i].id && !node.id ? old[i] : undefined);
    const place = from.childNodes[i] ?? null;
    if (!same) return from.insertBefore(node, place);
    if (same !== place) from.insertBefore(same, place);
    become(same, node);
  });
  while (from.childNodes.length > fresh.length) from.lastChild.remove();
}

/** Adding to the basket stays on the page. The request's number makes a repeated one harmless. */
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (!form.matches('[data-add]')) return;
  event.preventDefault();
  void add(form);
});

async function add(form) {
  const button = form.querySelector('button');
  const fields = new FormData(form);
  const body = JSON.stringify({ productId: fields.get('productId'), quantity: Number(fields.get('quantity')) });
  const request = { method: 'POST', body, headers: { 'content-type': 'application/json', 'x-requestid': crypto.randomUUID() } };
  button.disabled = true;
  try {
    const response = await fetch('/api/basket/items', request).catch(() => fetch('/api/basket/items', request));
    const answer = await response.json();
    if (response.ok) {
      const line = answer.lines.find(({ productId }) => productId === fields.get('productId'));
      say('good', `${line ? line.name : 'It'} is in your basket.`);
      refresh();
    } else {
      say('bad', answer.detail);
    }
  } catch {
    say('bad', 'The shop is not answering. Try again in a moment.');
  } finally {
    button.disabled = false;
    button.focus();
  }
}

function say(tone, text) {
  const notice = document.getElementById('notice');
  notice.dataset.tone = tone;
  notice.textContent = text;
}
