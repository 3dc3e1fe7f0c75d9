/** Options, URLs, subscriptions and surroundings that cannot work: said at once, with the next step. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { createBus, defineEvent, type Logger, WaybillError } from 'waybill';
import { operations } from 'waybill/operations';
import { createTestBus } from 'waybill/testing';
import { memory } from 'waybill/transports/memory';
import * as z from 'zod';
import { assembleBus } from '../src/bus.ts';
import { CreateOrder, Noted, Priced, Ship } from './support/contracts.ts';

const isCode = (code: string, says: RegExp) => (error: unknown) => {
  assert.ok(WaybillError.is(error), String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, says);
  return true;
};

describe('the embedded default', () => {
  it('is named in the first line of the log, and only where it is used', async () => {
    const folder = await realpath(await mkdtemp(path.join(tmpdir(), 'waybill-')));
    await mkdir(path.join(folder, '.waybill'));
    const logging = (lines: string[]): Logger => {
      const note = (_details: object, text?: string): void => void lines.push(text ?? '');
      return { debug: note, info: note, warn: note, error: note };
    };
    const [ofNamed, ofBasket]: [string[], string[]] = [[], []];
    const home = process.cwd();
    try {
      process.chdir(folder);
      await using named = assembleBus({ service: 'named', store: `sqlite:${folder}/x/named.db`, transport: `sqlite:${folder}/y`, logger: logging(ofNamed) }, { env: {} });
      await named.start();
      assert.equal(ofNamed.some((line) => line.includes('embedded default')), false); // a busy machine may have it warn of something else
      await using basket = assembleBus({ service: 'basket', logger: logging(ofBasket) }, { env: {} });
      await basket.start();
      assert.equal(ofBasket[0], `the embedded default is in use, in ${path.join(folder, '.waybill')}`);
    } finally {
      process.chdir(home);
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('createBus refuses', () => {
  const bad: [what: string, options: unknown, says: RegExp, code?: string][] = [
    ['no options', undefined, /pass an object/],
    ['null', null, /pass an object/],
    ['no service', {}, /service name/],
    ['an empty service', { service: '' }, /service name/],
    ['an upper-case service', { service: 'Basket' }, /service name/],
    ['a service with a slash', { service: '../other' }, /service name/],
    ['a service with a line break', { service: 'basket\n' }, /service name/],
    ['a service past 63 characters', { service: 'b'.repeat(64) }, /service name/],
    ['__proto__ as service', { service: '__proto__' }, /service name/],
    ['a word that it does not know', { service: 'basket', relai: 'off' }, /relai is not known/],
    ['a relay that it does not know', { service: 'basket', relay: 'sometimes' }, /relay must be/],
    ['a migrate that it does not know', { service: 'basket', migrate: 'maybe' }, /migrate must be/],
    ['requireTransaction that is no boolean', { service: 'basket', requireTransaction: 'yes' }, /requireTransaction/],
    ['propagate that is no list', { service: 'basket', propagate: 'tenant' }, /propagate/],
    ['propagate of what is no text', { service: 'basket', propagate: [7] }, /propagate/],
    ['propagate of what is no header', { service: 'basket', propagate: ['ce-id'] }, /header/, 'INVALID_HEADER'],
    ['a horizon of no time', { service: 'basket', horizonMs: 0 }, /horizonMs/],
    ['a horizon without end', { service: 'basket', horizonMs: Infinity }, /horizonMs/],
    ['a horizon that is a text', { service: 'basket', horizonMs: '7d' }, /horizonMs/],
    ['handleSignals that is no boolean', { service: 'basket', handleSignals: 1 }, /handleSignals/],
    ['a store that is none', { service: 'basket', store: {} }, /store must be/],
    ['a store that is a number', { service: 'basket', store: 7 }, /store must be/],
    ['a transport as store', { service: 'basket', store: memory() }, /store must be/],
    ['a transport that is none', { service: 'basket', transport: [] }, /transport must be/],
    ['a logger without its methods', { service: 'basket', logger: { warn() {} } }, /debug, info, warn and error/],
    ['a logger that is null', { service: 'basket', logger: null }, /debug, info, warn and error/],
  ];
  for (const [what, options, says, code = 'INVALID_OPTION'] of bad) {
    it(what, () => {
      assert.throws(() => createBus(options as never), isCode(code, says));
    });
  }
});

it("relay 'log' over a store that has no log to read is refused at start", async () => {
  const bus = createBus({ service: 'basket', relay: 'log', store: 'memory:', transport: memory() });
  await assert.rejects(bus.start(), isCode('CAPABILITY_MISSING', /use 'inline' or 'worker'/));
  await bus.stop();
});

describe('a URL', () => {
  const started = (options: object): Promise<void> => assembleBus({ service: 'basket', ...options } as never, { env: {} }).start();
  for (const [what, options, says] of [
    ['without scheme', { store: 'basket.db' }, /no scheme.*sqlite:/],
    ['with an empty scheme', { store: ':memory:' }, /no scheme/],
    ['of a driver that this version has not', { store: 'oracle://user:hunter2@host/db' }, /no store driver for "oracle:"/],
    ['of a transport that this version has not', { store: 'memory:', transport: 'kafka://user:hunter2@host' }, /no transport driver for "kafka:"/],
    ['sqlite: without a path', { store: 'sqlite:' }, /sqlite: and a path/],
    ['sqlite: with a host', { store: 'sqlite://host/file' }, /sqlite: and a path/],
    ['sqlite: with NUL', { store: 'sqlite:a\0b' }, /sqlite: and a path/],
    ['of a transport, sqlite: without a path', { store: 'memory:', transport: 'sqlite:' }, /sqlite: and a path/],
    ['javascript:', { store: 'javascript:alert(1)' }, /no store driver/],
    ['__proto__:', { store: '__proto__:x' }, /no scheme|no store driver/],
  ] as const) {
    it(`${what} is INVALID_URL at start, and no secret of it is repeated`, async () => {
      await assert.rejects(started(options), (error) => {
        assert.doesNotMatch(`${String(error)} ${(error as Error).stack}`, /hunter2/);
        return isCode('INVALID_URL', says)(error);
      });
    });
  }

  it('of the environment counts where the options say nothing', async () => {
    const bus = assembleBus({ service: 'basket' }, { env: { WAYBILL_STORE: 'memory:', WAYBILL_TRANSPORT: 'memory:', NODE_ENV: 'production' } });
    await bus.start();
    await bus.stop();
  });
});

describe('in production', () => {
  const env = { NODE_ENV: 'production' };
  it('a store must be named', async () => {
    await assert.rejects(assembleBus({ service: 'basket', transport: 'memory:' }, { env }).start(), isCode('NOT_CONFIGURED', /WAYBILL_STORE/));
  });
  it('a transport must be named', async () => {
    await assert.rejects(assembleBus({ service: 'basket', store: 'memory:' }, { env }).start(), isCode('NOT_CONFIGURED', /WAYBILL_TRANSPORT/));
  });
  it('an empty variable names nothing', async () => {
    await assert.rejects(assembleBus({ service: 'basket' }, { env: { ...env, WAYBILL_STORE: '', WAYBILL_TRANSPORT: '' } }).start(), isCode('NOT_CONFIGURED', /WAYBILL_STORE/));
  });
  it('a publish says so too, and nothing is opened', async () => {
    await assert.rejects(assembleBus({ service: 'basket' }, { env }).publish(Noted, { text: 'a' }), isCode('NOT_CONFIGURED', /WAYBILL_STORE/));
  });
});

describe('a store that cannot be', () => {
  it('opened rejects start, and leaves no file behind', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'waybill-'));
    try {
      const bus = createBus({ service: 'basket', store: `sqlite:${directory}`, transport: memory() });
      await assert.rejects(bus.start(), isCode('STORE_UNREACHABLE', /is a folder/));
      await assert.rejects(bus.publish(Noted, { text: 'a' }), isCode('STORE_UNREACHABLE', /is a folder/));
      await bus.stop();
    } finally {
      await rm(directory, { recursive: true });
    }
  });
  it('found without its tables is left alone under migrate: check', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'waybill-'));
    try {
      const file = path.join(directory, 'basket.db');
      await assert.rejects(createBus({ service: 'basket', store: `sqlite:${file}`, transport: memory(), migrate: 'check' }).start(), isCode('STORE_NOT_MIGRATED', /./));
      await assert.rejects(stat(file));
    } finally {
      await rm(directory, { recursive: true });
    }
  });
  it('shared with another service rejects start', async () => {
    const directory = await mkdtemp(path.join(tmpdir(), 'waybill-'));
    try {
      const store = `sqlite:${path.join(directory, 'one.db')}`;
      await using one = createBus({ service: 'one', store, transport: memory() });
      await one.start();
      await assert.rejects(createBus({ service: 'two', store, transport: memory() }).start(), isCode('STORE_FOREIGN', /one/));
    } finally {
      await rm(directory, { recursive: true });
    }
  });
  it('asked for SQL, in memory, says NO_SQL', async () => {
    await using bus = createTestBus({ store: 'memory:' });
    await assert.rejects(bus.transaction((tx) => tx.query('select 1')), isCode('NO_SQL', /sqlite::memory:/));
  });
});

describe('a subscription refuses', () => {
  const bus = createTestBus({ service: 'desk' });
  const bad: [what: string, make: () => unknown, code: string, says: RegExp][] = [
    ['no handler', () => bus.subscribe(Noted, undefined as never), 'INVALID_OPTION', /no function/],
    ['a handler that is no function', () => bus.subscribe(Noted, {}, 'print' as never), 'INVALID_OPTION', /no function/],
    ['what is no contract', () => bus.subscribe({} as never, () => {}), 'INVALID_CONTRACT', /defineEvent/],
    ['a command', () => bus.subscribe(Ship as never, () => {}), 'INVALID_CONTRACT', /handle/],
    ['a command in .on', () => bus.subscription('a').on(Ship as never, () => {}), 'INVALID_CONTRACT', /handle/],
    ['an event as command', () => bus.handle(Noted as never, () => {}), 'INVALID_CONTRACT', /subscribe/],
    ["a command of another service", () => bus.handle(CreateOrder, () => ({ orderId: 'o' })), 'INVALID_OPTION', /orders/],
    ['an empty name', () => bus.subscribe(Noted, { name: '' }, () => {}), 'INVALID_OPTION', /name/],
    ['a name with a line break', () => bus.subscribe(Noted, { name: 'a\nb' }, () => {}), 'INVALID_OPTION', /name/],
    ['a name with a slash', () => bus.subscribe(Noted, { name: 'a/b' }, () => {}), 'INVALID_OPTION', /name/],
    ['an upper-case name', () => bus.subscribe(Noted, { name: 'A' }, () => {}), 'INVALID_OPTION', /name/],
    ['a name past 150 characters', () => bus.subscribe(Noted, { name: 'a'.repeat(151) }, () => {}), 'INVALID_OPTION', /name/],
    ['a name that is none', () => bus.subscription(7 as never), 'INVALID_OPTION', /name/],
    ['__proto__ as name', () => bus.subscribe(Noted, { name: '__proto__' }, () => {}), 'INVALID_OPTION', /name/],
    ['a former name that is none', () => bus.subscribe(Noted, { name: 'b', formerly: ['A'] }, () => {}), 'INVALID_OPTION', /name/],
    ['former names that are no list', () => bus.subscribe(Noted, { name: 'b', formerly: 'a' as never }, () => {}), 'INVALID_OPTION', /formerly/],
    ['its own name as a former one', () => bus.subscribe(Noted, { name: 'b', formerly: ['b'] }, () => {}), 'INVALID_OPTION', /formerly/],
    ['an order that it does not know', () => bus.subscribe(Noted, { order: 'random' as never }, () => {}), 'INVALID_OPTION', /order/],
    ["order 'by-key' without key", () => bus.subscribe(Noted, { order: 'by-key' as never }, () => {}), 'INVALID_OPTION', /needs a contract with key/],
    ["order 'latest' without sequence", () => bus.subscribe(defineEvent('desk.k', { schema: z.any(), key: () => 'k' }), { order: 'latest' as never }, () => {}), 'INVALID_OPTION', /sequence/],
    ['a transaction mode that it does not know', () => bus.subscribe(Noted, { transaction: 'none' as never }, () => {}), 'INVALID_OPTION', /transaction/],
    ["a set in mode 'manual'", () => bus.subscribeBatch(Noted, { transaction: 'manual' } as never, () => {}), 'INVALID_OPTION', /transaction/],
    ['a set with an order', () => bus.subscribeBatch(Priced, { order: 'latest' } as never, () => {}), 'INVALID_OPTION', /order/],
    ["afterFailure 'hold' without 'by-key'", () => bus.subscribe(Priced, { afterFailure: 'hold' }, () => {}), 'INVALID_OPTION', /hold/],
    ['a batch of 0', () => bus.subscribe(Noted, { batch: 0 }, () => {}), 'INVALID_OPTION', /batch/],
    ['a fractional batch', () => bus.subscribe(Noted, { batch: 1.5 }, () => {}), 'INVALID_OPTION', /batch/],
    ['a concurrency of 0', () => bus.subscribe(Noted, { concurrency: 0 }, () => {}), 'INVALID_OPTION', /concurrency/],
    ['a timeout of 0', () => bus.subscribe(Noted, { timeoutMs: 0 }, () => {}), 'INVALID_OPTION', /timeoutMs/],
    ['a timeout that is no number', () => bus.subscribe(Noted, { timeoutMs: '30s' as never }, () => {}), 'INVALID_OPTION', /timeoutMs/],
    ['negative retries', () => bus.subscribe(Noted, { retry: { delayed: -1 } }, () => {}), 'INVALID_OPTION', /retry\.delayed/],
    ['retries without end', () => bus.subscribe(Noted, { retry: { immediate: Infinity } }, () => {}), 'INVALID_OPTION', /retry\.immediate/],
    ['retry: true', () => bus.subscribe(Noted, { retry: true as never }, () => {}), 'INVALID_OPTION', /retry/],
    ['a word of retry that it does not know', () => bus.subscribe(Noted, { retry: { times: 3 } as never }, () => {}), 'INVALID_OPTION', /times/],
    ['a beginning that is no time', () => bus.subscribe(Noted, { from: new Date('no') }, () => {}), 'INVALID_OPTION', /from/],
    ['a beginning that it does not know', () => bus.subscribe(Noted, { from: 'yesterday' as never }, () => {}), 'INVALID_OPTION', /from/],
    ['onFailed that is no function', () => bus.subscribe(Noted, { onFailed: 'mail' as never }, () => {}), 'INVALID_OPTION', /onFailed/],
    ['a word that it does not know', () => bus.subscribe(Noted, { retries: 3 } as never, () => {}), 'INVALID_OPTION', /retries is not known/],
    ['options that are none', () => bus.subscribe(Noted, 7 as never, () => {}), 'INVALID_OPTION', /options|object/],
  ];
  for (const [what, make, code, says] of bad) {
    it(what, () => {
      assert.throws(make, isCode(code, says));
    });
  }

  it('a name that is taken, and says how to go on', () => {
    const other = createTestBus({ service: 'desk' });
    other.subscribe(Noted, () => {});
    assert.throws(() => other.subscribe(Noted, () => {}), isCode('DUPLICATE_SUBSCRIPTION', /name: '…'/));
    other.subscribe(Noted, { name: 'second' }, () => {});
    assert.throws(() => other.subscribe(Priced, { name: 'second' }, () => {}), isCode('DUPLICATE_SUBSCRIPTION', /second/));
    assert.throws(() => other.subscribe(Priced, { name: 'desk.second' }, () => {}), isCode('DUPLICATE_SUBSCRIPTION', /second/));
  });

  it('a former name that is a subscription of its own', () => {
    const other = createTestBus({ service: 'desk' });
    other.subscribe(Noted, { name: 'old' }, () => {});
    assert.throws(() => other.subscribe(Noted, { name: 'new', formerly: ['old'] }, () => {}), isCode('DUPLICATE_SUBSCRIPTION', /cannot be both/));
    other.subscribe(Noted, { name: 'newer', formerly: ['oldest'] }, () => {});
    assert.throws(() => other.subscribe(Noted, { name: 'oldest' }, () => {}), isCode('DUPLICATE_SUBSCRIPTION', /cannot be both/));
  });

  it('two handlers for one command, or for one event of a subscription', () => {
    const orders = createTestBus({ service: 'orders' });
    orders.handle(Ship, () => {});
    assert.throws(() => orders.handle(Ship, () => {}), isCode('DUPLICATE_HANDLER', /a command has one/));
    assert.throws(() => orders.handle(Ship, { name: 'other' }, () => {}), isCode('DUPLICATE_HANDLER', /a command has one/));
    assert.throws(() => orders.subscription('both').on(Noted, () => {}).on(Noted, () => {}), isCode('DUPLICATE_HANDLER', /already/));
  });

  it('and leaves nothing of what was refused', async () => {
    await using other = createTestBus({ service: 'desk' });
    assert.throws(() => other.subscribe(Noted, { batch: 0 }, () => {}));
    assert.throws(() => other.subscribe(Noted, 'print' as never));
    const seen: string[] = [];
    other.subscribe(Noted, (event) => void seen.push(event.text));
    await other.publish(Noted, { text: 'a' });
    await other.settled();
    assert.deepEqual(seen, ['a']);
  });
});

describe('other calls refuse', () => {
  it('a middleware that is none', () => {
    const bus = createTestBus();
    for (const layer of [undefined, null, 7, () => {}, { handel: () => {} }, { handle: 'x' }, { publish: 7 }]) {
      assert.throws(() => bus.use(layer as never), isCode('INVALID_OPTION', /use takes/));
    }
  });
  it('a signal that there is not, and a listener that is no function', () => {
    const bus = createTestBus();
    assert.throws(() => bus.on('aplied' as never, () => {}), isCode('INVALID_OPTION', /aplied/));
    assert.throws(() => bus.on('applied', 'x' as never), isCode('INVALID_OPTION', /function/));
  });
  it('a token that is none', async () => {
    await using bus = createTestBus();
    for (const token of ['', 'x', '1', '1!!!', `1${Buffer.from('[1,2]').toString('base64url')}`, '2abc', 7, null, undefined, {}, 'x'.repeat(100_000)]) {
      await assert.rejects(bus.caughtUp(token as never, { timeoutMs: 0 }), isCode('INVALID_TOKEN', /unchanged/));
    }
  });
  it('a wait without end', async () => {
    await using bus = createTestBus();
    const { token } = await bus.publish(Noted, { text: 'a' });
    for (const how of [undefined, {}, { timeoutMs: Number.NaN }, { timeoutMs: -1 }, { timeoutMs: Infinity }, { timeoutMs: '5' }]) {
      await assert.rejects(bus.caughtUp(token, how as never), isCode('INVALID_OPTION', /timeoutMs/));
    }
  });
  it('an id to cancel that is none', async () => {
    await using bus = createTestBus();
    for (const id of [undefined, null, 7, '', {}]) await assert.rejects(bus.cancel(id as never), isCode('INVALID_ID', /id/));
  });
  it('a misspelt option of any call', async () => {
    await using bus = createTestBus();
    const { token } = await bus.publish(Noted, { text: 'a' });
    const calls: [word: RegExp, call: () => Promise<unknown>][] = [
      [/txn/, () => bus.publishAll([Noted.of({ text: 'b' })], { txn: {} } as never)],
      [/tx/, () => bus.publishAll([Noted.of({ text: 'b' })], null as never)],
      [/tx/, () => bus.request(Ship, { orderId: 'o' }, { timeoutMs: 1, tx: 'own' } as never)],
      [/timeoutMs/, () => bus.request(Ship, { orderId: 'o' }, undefined as never)],
      [/txn/, () => bus.cancel('x', { txn: {} } as never)],
      [/attempt/, () => bus.transaction(async () => {}, { attempt: 1 } as never)],
      [/fingerprnt/, () => bus.once('scope', 'key', async () => {}, { fingerprnt: 'x' } as never)],
      [/retainMs/, () => bus.once('scope', 'key', async () => {}, null as never)],
      [/tx/, () => bus.lockKey(Priced, { id: 'p', price: 1, revision: 1 }, undefined as never)],
      [/timeout/, () => bus.caughtUp(token, { timeout: 5 } as never)],
      [/drain/, () => createTestBus().stop({ drain: 5 } as never)],
    ];
    for (const [word, call] of calls) await assert.rejects(call(), isCode('INVALID_OPTION', word));
    assert.equal(bus.messages().length, 1);
  });

  it('a drain that is no time', async () => {
    await using bus = createTestBus();
    for (const drainMs of [Number.NaN, -1, '5', Infinity]) await assert.rejects(createBus({ service: 'a', store: 'memory:', transport: memory() }).stop({ drainMs } as never), isCode('INVALID_OPTION', /drainMs/));
    await bus.start();
  });
  it('operations of what is no bus', () => {
    assert.throws(() => operations({} as never), isCode('INVALID_OPTION', /createBus/));
    assert.throws(() => operations(undefined as never), isCode('INVALID_OPTION', /createBus/));
  });
  it('row numbers that are none', async () => {
    await using bus = createTestBus();
    for (const row of [Number.NaN, 1.5, '1', undefined]) {
      await assert.rejects(operations(bus).waiting.run(row as never), isCode('INVALID_OPTION', /row/));
      await assert.rejects(operations(bus).failures.retry({ rows: [row as never] }), isCode('INVALID_OPTION', /row/));
      await assert.rejects(operations(bus).failures.delete({ rows: [row as never] }), isCode('INVALID_OPTION', /row/));
    }
  });
});
