import { createBus, type Bus, type SqlTransaction } from 'waybill';
import { ProductAdded } from '../contracts/catalog.ts';
import { run } from '../service/run.ts';
import { subscribe } from './handlers.ts';
import { catalogApp } from './http.ts';
import { firstCatalogue } from './product.ts';
import { createTables, insertProduct, isEmpty } from './products.ts';
import { createTables as createWarehouse, insertStock } from './warehouse.ts';

/** The catalogue: owns products, their prices and their stock, and tells everybody of them. */
const bus = createBus({ service: 'catalog' });
subscribe(bus);

await run({
  bus,
  app: catalogApp(bus),
  prepare: () => fillWhenEmpty(bus),
});

/** On the first start: all products and all events that tell of them, in one transaction. */
async function fillWhenEmpty(bus: Bus<SqlTransaction>): Promise<string | undefined> {
  return await bus.transaction(async (tx) => {
    await createTables(tx);
    await createWarehouse(tx);
    if (!(await isEmpty(tx))) return undefined;
    const products = firstCatalogue();
    for (const product of products) {
      await insertProduct(tx, product);
      await insertStock(tx, product.productId, product.stock);
    }
    const published = await bus.publishAll(
      products.map((product) => ProductAdded.of(product)),
      { tx },
    );
    return published.at(-1)?.token;
  });
}
