/** What these tests share: a bus on real files in a folder of its own, and signals to wait for. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Bus, createBus, type SqlTransaction } from 'waybill';

export const quiet = { debug() {}, info() {}, warn() {}, error() {} };

export function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'waybill-review-'));
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
  return path;
}

/** A bus whose store is its ledger in a directory; stopped after the test. */
export function embedded(t: TestContext, service: string, directory: string = folder(t)): Bus<SqlTransaction> {
  const bus = createBus({ service, store: `sqlite:${directory}/${service}.db`, transport: `sqlite:${directory}`, logger: quiet });
  t.after(() => bus.stop({ drainMs: 0 }));
  return bus;
}

/** A promise and the function that keeps it. */
export function signal<T = void>(): { readonly come: Promise<T>; readonly give: (value: T) => void } {
  const { promise, resolve } = Promise.withResolvers<T>();
  return { come: promise, give: resolve };
}
