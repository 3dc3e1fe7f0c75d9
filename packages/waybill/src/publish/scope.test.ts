import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createScopes } from './scope.ts';

const fields = { kind: 'transaction' as const, tx: undefined, cause: undefined };

describe('a scope', () => {
  it('is where the code inside it stands, over awaits and timers', async () => {
    const scopes = createScopes();
    assert.equal(scopes.current(), undefined);
    const answer = await scopes.run(fields, async () => {
      await new Promise((resolve) => void setTimeout(resolve, 1));
      assert.equal(scopes.current()?.kind, 'transaction');
      return 7;
    });
    assert.equal(answer, 7);
    assert.equal(scopes.current(), undefined);
  });

  it('is over for what it left running in the background', async () => {
    const scopes = createScopes();
    const gate = Promise.withResolvers<void>();
    let later: Promise<unknown> | undefined;
    await scopes.run(fields, () => {
      later = gate.promise.then(() => scopes.current());
    });
    gate.resolve();
    assert.equal(await later, undefined);
  });

  it('is over when its work throws', async () => {
    const scopes = createScopes();
    let seen: { open: boolean } | undefined;
    await assert.rejects(
      scopes.run(fields, () => {
        seen = scopes.current();
        throw new Error('no');
      }),
    );
    assert.equal(seen!.open, false);
  });

  it('of one bus says nothing to another, and the inner one counts', async () => {
    const one = createScopes();
    const two = createScopes();
    await one.run(fields, () =>
      two.run({ ...fields, kind: 'handler' }, async () => {
        assert.equal(one.current()?.kind, 'transaction');
        assert.equal(two.current()?.kind, 'handler');
        await two.run(fields, () => assert.equal(two.current()?.kind, 'transaction'));
        assert.equal(two.current()?.kind, 'handler');
      }),
    );
  });

  it('waits for the publishes that nobody awaited, and fails with them', async () => {
    const scopes = createScopes();
    const published: string[] = [];
    await scopes.run(fields, () => {
      void scopes.track(async () => {
        await new Promise((resolve) => void setTimeout(resolve, 1));
        published.push('late');
      });
    });
    assert.deepEqual(published, ['late']);
    await assert.rejects(
      scopes.run(fields, () => {
        void scopes.track(() => new Promise((_, reject) => void setTimeout(() => reject(new Error('refused')), 1)));
      }),
      /refused/,
    );
  });

  const refuse: Readonly<Record<string, () => Promise<never>>> = {
    'at once': () => {
      throw new Error('refused');
    },
    'in this turn': () => Promise.reject(new Error('refused')),
    'later': async () => {
      await new Promise((resolve) => void setTimeout(resolve, 1));
      throw new Error('refused');
    },
  };
  for (const [when, publish] of Object.entries(refuse)) {
    it(`fails with a publish that was refused ${when}, however long it goes on, unless somebody heard of it`, async () => {
      const scopes = createScopes();
      const goesOn = (): Promise<unknown> => new Promise((resolve) => void setTimeout(resolve, 10));
      await assert.rejects(
        scopes.run(fields, async () => {
          void scopes.track(publish);
          await goesOn();
        }),
        /refused/,
      );
      const caught = await scopes.run(fields, async () => {
        const publishing = scopes.track(publish);
        await goesOn();
        try {
          await publishing;
        } catch {
          return 'caught';
        }
      });
      assert.equal(caught, 'caught');
      await scopes.run(fields, async () => {
        await Promise.all([scopes.track(publish), goesOn()]).catch(() => {});
      });
    });
  }

  it('fails with a publish that fails after its end, whoever hears that', async () => {
    const scopes = createScopes();
    await assert.rejects(
      scopes.run(fields, () => {
        scopes.track(refuse['later']!).catch(() => {});
      }),
      /refused/,
    );
  });

  it('has nothing to wait for where the publish was ready at once', async () => {
    const scopes = createScopes();
    await scopes.run(fields, async () => {
      assert.equal(await scopes.track(() => 7), 7);
      assert.equal(scopes.current()!.publishes, undefined);
    });
  });
});
