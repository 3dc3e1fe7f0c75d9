import { describe, it } from 'node:test';
import { runCase } from './conformance.ts';
import { transportCases } from './transport/cases.ts';
import { overMemory } from './transport/over-memory.ts';
import { overSqlite } from './transport/over-sqlite.ts';

for (const driver of [overMemory(), overSqlite('native'), overSqlite('foreign')]) {
  describe(`transport conformance: ${driver.name}`, () => {
    for (const subject of transportCases) {
      it(subject.name, async (t) => {
        const skipped = await runCase(subject, driver);
        if (skipped !== undefined) t.skip(skipped);
      });
    }
  });
}
