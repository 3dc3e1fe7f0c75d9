import assert from 'node:assert/strict';
import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, it } from 'node:test';
import type * as errors from './errors.ts';
import { asError, Reject, RetryLater, WaybillError } from './errors.ts';
import { storedError } from './failure.ts';

const source = await readFile(path.join(import.meta.dirname, 'errors.ts'), 'utf8');
const page = await readFile(path.join(import.meta.dirname, '../../../../docs/errors.md'), 'utf8');
const codes = [...source.slice(source.indexOf('export type WaybillErrorCode'), source.indexOf(';', source.indexOf('TRANSPORT_REFUSED'))).matchAll(/\| '([A-Z_]+)'/g)].map((match) => match[1]!);

/** Codes that a page explains: rows with a cause and a next step. */
function explained(text: string): string[] {
  return [...text.matchAll(/^\| `([A-Z_]+)` \| (.+) \| (.+) \|$/gm)].filter(([, , what, next]) => what!.length > 15 && next!.length > 5).map((match) => match[1]!);
}

describe('docs/errors.md', () => {
  it('explains every code, and no other, in the order of the source', () => {
    assert.ok(codes.length > 40, `${codes.length} codes found`);
    assert.deepEqual(explained(page), codes);
  });

  it('notices a code that is not explained, one too many, and a row without next step', () => {
    assert.notDeepEqual(explained(page.replace(/^\| `STORE_FULL`.*\n/m, '')), codes);
    assert.notDeepEqual(explained(`${page}| \`NO_SUCH_CODE\` | Something that never happens at all. | Nothing at all. |\n`), codes);
    assert.notDeepEqual(explained(page.replace(/^(\| `STORE_FULL` \| [^|]+ \|) [^|]+ \|$/m, '$1 ? |')), codes);
  });
});

/** Text of every file below the package that a rule takes. */
async function textOf(takes: (file: string) => boolean): Promise<string> {
  const root = path.join(import.meta.dirname, '../..');
  let text = '';
  for await (const file of glob('{src,test}/**/*.ts', { cwd: root })) {
    if (takes(file) && !file.endsWith('errors.test.ts')) text += await readFile(path.join(root, file), 'utf8');
  }
  return text;
}

/** Codes that some line gives to an error: not those that it only asks for. */
function given(text: string): string[] {
  const said = text.replaceAll(/\.is\(\w+, '[A-Z_]+'\)|[!=]== '[A-Z_]+'/g, '');
  return codes.filter((code) => said.includes(`'${code}'`));
}

describe('every code', () => {
  it('is given to an error somewhere in the library, and expected by a test', async () => {
    const source = await textOf((file) => file.startsWith('src') && !file.endsWith('.test.ts') && !/contract.errors\.ts$/.test(file));
    assert.deepEqual(codes.filter((code) => !given(source).includes(code)), [], 'explained, and never thrown');
    const tests = await textOf((file) => file.startsWith('test') || file.endsWith('.test.ts') || /testing.conformance/.test(file));
    assert.deepEqual(codes.filter((code) => !new RegExp(`\\b${code}\\b`).test(tests)), [], 'thrown, and seen by no test');
  });

  it('that is only asked for is noticed', () => {
    assert.deepEqual(given(`throw new WaybillError('STORE_BUSY', 'locked')`), ['STORE_BUSY']);
    assert.deepEqual(given(`if (WaybillError.is(error, 'STORE_BUSY') || code === 'STORE_FULL') /** @throws \`NO_SQL\` */`), []);
  });
});

describe('WaybillError', () => {
  it('is recognised by its code, over two copies of the package', async () => {
    const other = (await import(`./errors.ts?copy=2` as string)) as typeof errors;
    assert.notEqual(other.WaybillError, WaybillError);
    const theirs = new other.WaybillError('STORE_BUSY', 'locked');
    assert.ok(!(theirs instanceof WaybillError));
    assert.ok(WaybillError.is(theirs));
    assert.ok(WaybillError.is(theirs, 'STORE_BUSY'));
    assert.ok(!WaybillError.is(theirs, 'STORE_FULL'));
    assert.ok(Reject.is(new other.Reject('no')));
    assert.ok(RetryLater.is(new other.RetryLater(5)));
  });

  it('is not recognised in what only looks like it', () => {
    for (const other of [undefined, null, 7, 'STORE_BUSY', {}, new Error('x'), Object.assign(new Error('x'), { code: 'STORE_BUSY' })]) {
      assert.ok(!WaybillError.is(other));
      assert.ok(!Reject.is(other));
      assert.ok(!RetryLater.is(other));
    }
  });

  it('keeps cause and name, and shows no brand when it is printed', () => {
    const cause = new Error('below');
    const error = new WaybillError('STORE_BUSY', 'locked', { cause });
    assert.equal(error.cause, cause);
    assert.equal(error.name, 'WaybillError');
    assert.deepEqual(Object.keys(error).toSorted(), ['code', 'name']);
    assert.equal('cause' in new WaybillError('STORE_BUSY', 'locked'), false);
  });
});

describe('asError', () => {
  it('hands on errors, and makes one of anything else', () => {
    const error = new TypeError('x');
    assert.equal(asError(error), error);
    assert.equal(asError({ message: 'from another realm' }).message, 'from another realm');
    for (const thrown of [undefined, null, 'text', 7, Symbol('s'), 5n, {}, [], () => {}, Object.create(null), { toJSON: () => { throw new Error('no'); } }]) {
      const made = asError(thrown);
      assert.ok(made instanceof Error);
      assert.match(made.message, /^no error was thrown, but /);
      assert.ok(made.message.length < 300);
    }
  });
});

describe('storedError', () => {
  it('keeps code, text with the cause, and stack, within bounds', () => {
    const stored = storedError(Object.assign(new Error('x'.repeat(100_000), { cause: new Error('below') }), { code: 'E_MINE' }), 'HANDLER_FAILED');
    assert.equal(stored.code, 'E_MINE');
    assert.ok(stored.message.length <= 8_000 && stored.stack!.length <= 8_000);
    assert.equal(storedError(new Error('x', { cause: new Error('below') }), 'HANDLER_FAILED').message, 'x (cause: below)');
  });

  it('takes the default for a code that is none', () => {
    for (const code of [undefined, '', 7, 'x'.repeat(101)]) assert.equal(storedError(Object.assign(new Error('x'), { code }), 'HANDLER_FAILED').code, 'HANDLER_FAILED');
  });

  it('never throws, and always has a text', () => {
    const hostile = [
      undefined,
      null,
      '',
      new Error(''),
      Object.create(null),
      Object.defineProperty({}, 'message', { get: () => { throw new Error('no'); } }),
      Object.defineProperty(new Error('x'), 'message', { get: () => { throw new Error('no'); } }),
      new Proxy({}, { get: () => { throw new Error('no'); } }),
      Object.assign(new Error('x'), { stack: 7, code: {}, message: Symbol('s') }),
    ];
    for (const thrown of hostile) {
      const stored = storedError(thrown, 'HANDLER_FAILED');
      assert.equal(stored.code, 'HANDLER_FAILED');
      assert.notEqual(stored.message, '');
    }
  });
});
