import { secureHeaders } from 'hono/secure-headers';
import { createBus } from 'waybill';
import { createApp } from '../service/http.ts';
import { run } from '../service/run.ts';
import { apiOf } from './api.ts';
import { assetsOf } from './assets.ts';
import { subscribe } from './handlers.ts';
import { createLive } from './live.ts';
import { refuseOtherSites } from './other-sites.ts';
import { pagesOf, problemPage } from './pages.ts';
import { createTables as createOrders } from './orders.ts';
import { createTables } from './read-model.ts';
import { servicesOver } from './services.ts';
import { copiedBaskets, copiedProducts, type Storefront } from './views.ts';
import { visitorOf } from './visitor.ts';
import { watchServices } from './watch.ts';

/** The storefront: shows what it has heard from the others, and passes on what visitors want. It decides nothing. */
const bus = createBus({ service: 'storefront' });
const live = createLive();
let statesBefore = '';
const watch = watchServices({
  onChange: () => live.tell('status'),
  onLook: () => void tick().catch((error: unknown) => console.warn(error)),
});
const front: Storefront = { bus, live, watch, services: servicesOver(watch) };
subscribe(bus, live);

const app = createApp((c, problem) => problemPage(front, c, problem));
app.use(
  secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      connectSrc: ["'self'"],
      formAction: ["'self'"],
      baseUri: ["'none'"],
      frameAncestors: ["'none'"],
    },
    referrerPolicy: 'same-origin',
    strictTransportSecurity: false,
  }),
);
app.use(async (c, next) => {
  await next();
  if (!c.res.headers.has('cache-control')) c.header('cache-control', 'private, no-cache');
});
app.use(refuseOtherSites);
app.get('/live', (c) => live.stream(c, visitorOf(c)));
app.route('/api', apiOf(front));
app.route('/', assetsOf(front));
app.route('/', pagesOf(front));

await run({
  bus,
  app,
  prepare: async () => {
    await bus.transaction(async (tx) => {
      await createTables(tx);
      await createOrders(tx);
    });
    await watch.ready();
    return undefined;
  },
  close: () => {
    live.close();
    watch.close();
  },
});

/** Each second: open figures move on, and pages are told when what they rest on became late, or caught up. */
async function tick(): Promise<void> {
  live.tell('tick');
  const states = `${(await copiedProducts(front)).state} ${(await copiedBaskets(front)).state}`;
  if (states !== statesBefore) live.tell('status');
  statesBefore = states;
}
