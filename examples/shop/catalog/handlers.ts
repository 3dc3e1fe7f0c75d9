import type { Bus, HandlerContext, SqlTransaction } from 'waybill';
import { OrderStockConfirmed, OrderStockRejected, ProductStockChanged, ReleaseStock } from '../contracts/catalog.ts';
import { OrderStatusChangedToAwaitingValidation, OrderStatusChangedToPaid } from '../contracts/ordering.ts';
import { checkStock, move, piecesByProduct, type Pieces, type Stock } from './stock.ts';
import { insertReservation, lockReservation, lockStock, saveStock, setReservation } from './warehouse.ts';

type Context = HandlerContext<SqlTransaction>;

/**
 * The catalogue's part in an order: it puts pieces aside, gives them out once they are paid, and takes them back when the
 * order is cancelled. Stock is reserved, never only looked at, so that nothing is sold twice.
 */
export function subscribe(bus: Bus<SqlTransaction>): void {
  bus
    .subscription('ordering.stock', { order: 'by-key' })
    .on(OrderStatusChangedToAwaitingValidation, async ({ orderId, items }, ctx) => {
      const wanted = piecesByProduct(items);
      const stock = new Map<string, Stock>();
      for (const { productId } of wanted) {
        const found = await lockStock(ctx.tx, productId);
        if (found) stock.set(productId, found);
      }
      const checked = checkStock(wanted, stock);
      const isThere = checked.every(({ hasStock }) => hasStock);
      // Cancelled before it came this far: then there is a row that says so, and nothing is put aside.
      if (!(await insertReservation(ctx.tx, orderId, { state: isThere ? 'reserved' : 'rejected', items: wanted }))) return;
      if (!isThere) return void (await ctx.publish(OrderStockRejected, { orderId, items: checked }));
      await moveAll(ctx, wanted, 'reserve');
      await ctx.publish(OrderStockConfirmed, { orderId });
    })
    .on(OrderStatusChangedToPaid, async ({ orderId }, ctx) => {
      const reservation = await lockReservation(ctx.tx, orderId);
      if (reservation?.state !== 'reserved') return; // cancelled in the meantime
      await moveAll(ctx, reservation.items, 'take');
      await setReservation(ctx.tx, orderId, 'taken');
    });

  bus.handle(ReleaseStock, { name: 'ordering.release-stock' }, async ({ orderId }, ctx) => {
    if (await insertReservation(ctx.tx, orderId, { state: 'released', items: [] })) return;
    const { state, items } = (await lockReservation(ctx.tx, orderId))!;
    if (state === 'reserved') await moveAll(ctx, items, 'give-back');
    if (state === 'taken') await moveAll(ctx, items, 'take-back');
    await setReservation(ctx.tx, orderId, 'released');
  });
}

async function moveAll(ctx: Context, pieces: readonly Pieces[], step: Parameters<typeof move>[2]): Promise<void> {
  for (const { productId, quantity } of pieces) {
    const stock = move((await lockStock(ctx.tx, productId))!, quantity, step);
    const revision = await saveStock(ctx.tx, productId, stock);
    // Giving out what was put aside changes nothing for those who buy.
    if (step !== 'take') await ctx.publish(ProductStockChanged, { productId, revision, available: stock.available });
  }
}
