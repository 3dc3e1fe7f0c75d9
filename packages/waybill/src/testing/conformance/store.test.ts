import { describe, it } from 'node:test';
import { runCase } from './conformance.ts';
import { storeCases } from './store/cases.ts';
import { overMemory } from './store/over-memory.ts';
import { overSqlite } from './store/over-sqlite.ts';

for (const driver of [overMemory(), overSqlite('file'), overSqlite(':memory:')]) {
  describe(`store conformance: ${driver.name}`, () => {
    for (const subject of storeCases) {
      it(subject.name, async (t) => {
        const skipped = await runCase(subject, driver);
        if (skipped !== undefined) t.skip(skipped);
      });
    }
  });
}
