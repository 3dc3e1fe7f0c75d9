import { createBus, type Bus, type SqlTransaction } from 'waybill';
import { ProductAdded } from '../contracts/catalog.ts';
import { run } from '../service/run.ts';
import { catalogApp } from './http.ts';
import { firstCatalogue } from './product.ts';
import { createTables, insertProduct, isEmpty } from './products.ts';

/** The catalogue: owns products and their prices, and tells everybody of them. It listens to nobody. */
const bus = createBus({ service: 'catalog' });

await run({
  bus,
  app: catalogApp(bus),
  prepare: () => fillWhenEmpty(bus),
});

/** On the first start: all products and all events that tell of them, in one transaction. */
async function fillWhenEmpty(bus: Bus<SqlTransaction>): Promise<string | undefined> {
  return await bus.transaction(async (tx) => {
    await createTables(tx);
    if (!(await isEmpty(tx))) return undefined;
    const products = firstCatalogue();
    for (const product of products) await insertProduct(tx, product);
    const published = await bus.publishAll(
      products.map((product) => ProductAdded.of(product)),
      { tx },
    );
    return published.at(-1)?.token;
  });
}
