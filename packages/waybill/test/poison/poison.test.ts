/**
 * Poison and isolation (I9–I11): messages that throw, hang, abort the process or eat its memory, among innocents, in every
 * transaction mode. Real processes on SQLite files, started again each time they die. `npm run poison` tries all of it; npm
 * test what throws, as a claim on what was running when a process died takes a while to run out, three times in a row.
 */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { createBus } from 'waybill';
import { Asked } from './process.ts';

/** Between two looks at the database; nothing is asserted about time. */
const lookMs = 100;
const patienceMs = 180_000;
/** Little enough that eating it takes less than a second. */
const heapMb = 64;

const program = join(import.meta.dirname, 'process.ts');
const silent = { debug() {}, info() {}, warn() {}, error() {} };

describe('poison', () => {
  const kinds = process.env.POISON === 'all' ? (['throws', 'hangs', 'aborts', 'allocates'] as const) : (['throws'] as const);
  for (const does of kinds) {
    it(`that ${does} is kept with its bytes, and takes no innocent along`, { timeout: patienceMs + 10_000 }, async (t) => {
      const dir = await mkdtemp(join(tmpdir(), 'waybill-poison-'));
      const bus = createBus({ service: 'bar', store: `sqlite:${dir}/bar.db`, transport: `sqlite:${dir}`, logger: silent });
      await bus.start();
      await bus.transaction(async (tx) => {
        for (let n = 1; n <= 30; n++) await bus.publish(Asked, { key: `k${n % 5}`, n, does: n === 12 ? does : 'works' }, { tx });
      });

      let deaths = 0;
      let over = false;
      let child = start();
      function start(): ReturnType<typeof fork> {
        const started = fork(program, [dir], { execArgv: [`--max-old-space-size=${heapMb}`], stdio: 'ignore' });
        started.on('exit', () => {
          if (over) return;
          deaths++;
          child = start();
        });
        return started;
      }
      t.after(async () => {
        over = true;
        child.kill('SIGKILL');
        await bus.stop();
        await rm(dir, { recursive: true, force: true, maxRetries: 5 });
      });

      const wanted = Array.from({ length: 30 }, (_, i) => i + 1).filter((n) => n !== 12);
      const state = (): { effects: Record<string, number[]>; failures: { subscription: string; code: string; body: string }[] } => {
        const database = new DatabaseSync(join(dir, 'drinker.db'), { readOnly: true, timeout: 5_000 });
        try {
          const effects: Record<string, number[]> = {};
          for (const { name, n } of database.prepare('select name, n from effect order by at').all() as { name: string; n: number }[]) (effects[name] ??= []).push(n);
          const failures = database.prepare('select subscription, error_code as code, body from waybill_failures').all() as { subscription: string; code: string; body: Uint8Array }[];
          return { effects, failures: failures.map((row) => ({ ...row, body: Buffer.from(row.body).toString() })) };
        } catch {
          return { effects: {}, failures: [] }; // it has not made its tables yet
        } finally {
          database.close();
        }
      };
      const isDone = ({ effects, failures }: ReturnType<typeof state>): boolean =>
        failures.length >= 3 && ['shared', 'own', 'manual'].every((name) => (effects[name]?.length ?? 0) >= wanted.length);
      for (let waitedMs = 0; !isDone(safe(state)) && waitedMs < patienceMs; waitedMs += lookMs) await new Promise((resolve) => setTimeout(resolve, lookMs));

      const { effects, failures } = safe(state);
      for (const name of ['shared', 'own', 'manual']) assert.deepEqual((effects[name] ?? []).toSorted((a, b) => a - b), wanted, `${name}, after ${deaths} deaths`);
      assert.deepEqual(failures.map(({ subscription }) => subscription).toSorted(), ['drinker.manual', 'drinker.own', 'drinker.shared']);
      for (const { code, body } of failures) {
        assert.deepEqual(JSON.parse(body), { key: 'k2', n: 12, does });
        assert.equal(code, { throws: 'HANDLER_FAILED', hangs: 'HANDLER_TIMEOUT', aborts: 'HANDLER_CRASHED', allocates: 'HANDLER_CRASHED' }[does]);
      }
      assert.equal(deaths > 0, does === 'aborts' || does === 'allocates');
      // Of one key in the order of commits, with the gap where the poison was.
      for (const list of Object.values(effects)) {
        for (let key = 0; key < 5; key++) {
          const ofKey = list.filter((n) => n % 5 === key);
          assert.deepEqual(ofKey, ofKey.toSorted((a, b) => a - b));
        }
      }
    });
  }
});

/** A file that another process is just making cannot be read yet. */
function safe<R extends object>(look: () => R): R | { effects: Record<string, number[]>; failures: never[] } {
  try {
    return look();
  } catch {
    return { effects: {}, failures: [] };
  }
}
