/**
 * Makes `dist/`, the folder that is published: `npm pack ./packages/waybill/dist`. Of the library, or of the package whose
 * folder is given (`node …/build.ts .`).
 *
 * In the repository `exports` and `bin` point at the source, which runs unbuilt; in `dist` they point at what the compiler emitted.
 * The source itself (without tests) goes along in `dist/src`, so that "go to definition" and stack traces end in real code.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const LIBRARY = fileURLToPath(new URL('..', import.meta.url));
const PACKAGE = resolve(process.argv[2] ?? LIBRARY);
const ROOT = resolve(LIBRARY, '../..');
const SRC = join(PACKAGE, 'src');
const DIST = join(PACKAGE, 'dist');

/** What of the repository's package.json is not for those who install the package. */
const NOT_PUBLISHED = new Set(['private', 'scripts', 'devDependencies', 'exports', 'bin']);

/** A relative specifier with its extension, in emitted declarations: `from "./x.ts"`, `import("./x.ts")`. */
const RELATIVE_SPECIFIER = /(\bfrom\s*|\bimport\s*\(?\s*)(["'])(\.{1,2}\/[^"'\n]+)\2/g;

interface Manifest {
  readonly exports: Record<string, string>;
  readonly bin?: Record<string, string>;
  readonly [field: string]: unknown;
}

rmSync(DIST, { recursive: true, force: true });
compile();
for (const file of globSync('**/*.d.ts', { cwd: DIST })) rewriteDeclaration(join(DIST, file));
cpSync(SRC, join(DIST, 'src'), { recursive: true, filter: (file) => !file.endsWith('.test.ts') });
for (const file of globSync('**/*.map', { cwd: DIST })) rewriteMap(join(DIST, file));
for (const file of ['README.md', 'LICENSE', 'CHANGELOG.md']) copyFileSync(existsSync(join(PACKAGE, file)) ? join(PACKAGE, file) : join(ROOT, file), join(DIST, file));
writeManifest();

/** The native compiler by its path: `.bin/tsc` belongs to whichever alias of TypeScript npm linked last. */
function compile(): void {
  const typescript = dirname(createRequire(import.meta.url).resolve('typescript/package.json'));
  execFileSync(process.execPath, [join(typescript, 'bin/tsc'), '--project', join(PACKAGE, 'tsconfig.build.json')], { stdio: 'inherit' });
}

/** The compiler rewrites `.ts` to `.js` in code only; in declarations it is done here. Both are as long, so the maps stay true. */
function rewriteDeclaration(file: string): void {
  const lines = readFileSync(file, 'utf8').split('\n');
  writeFileSync(file, lines.map((line) => (isComment(line) ? line : rewriteSpecifiers(file, line))).join('\n'));
}

function rewriteSpecifiers(file: string, line: string): string {
  return line.replace(RELATIVE_SPECIFIER, (_whole, keyword: string, quote: string, specifier: string) => {
    const rewritten = specifier.replace(/\.ts$/, '.js');
    if (!existsSync(resolve(dirname(file), rewritten))) throw new Error(`${file} names ${specifier}, which was not built`);
    return `${keyword}${quote}${rewritten}${quote}`;
  });
}

/** An example in a comment names the reader's files, not ours. */
function isComment(line: string): boolean {
  return /^\s*(\*|\/\*\*|\/\/)/.test(line);
}

/** Maps name the source where it stood at build time; in the package it stands in `src`. */
function rewriteMap(file: string): void {
  const map = JSON.parse(readFileSync(file, 'utf8')) as { sources: string[] };
  const sources = map.sources.map((source) => {
    const inSrc = relative(SRC, resolve(dirname(file), source));
    return relative(dirname(file), join(DIST, 'src', inSrc)).replaceAll('\\', '/');
  });
  writeFileSync(file, JSON.stringify({ ...map, sources }));
}

function writeManifest(): void {
  const manifest = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')) as Manifest;
  const kept = Object.fromEntries(Object.entries(manifest).filter(([field]) => !NOT_PUBLISHED.has(field)));
  const exports = Object.fromEntries(Object.entries(manifest.exports).map(([subpath, source]) => [subpath, builtExport(source)]));
  const bin = manifest.bin && Object.fromEntries(Object.entries(manifest.bin).map(([name, source]) => [name, built(source, 'js')]));
  writeFileSync(join(DIST, 'package.json'), `${JSON.stringify({ ...kept, ...(bin && { bin }), exports }, null, 2)}\n`);
}

/** `./src/index.ts` → `{ types: './index.d.ts', default: './index.js' }`. */
function builtExport(source: string): string | { types: string; default: string } {
  if (!source.startsWith('./src/')) return source;
  return { types: built(source, 'd.ts'), default: built(source, 'js') };
}

/** `./src/main.ts` → `./main.js`, which must be there. */
function built(source: string, extension: 'js' | 'd.ts'): string {
  const file = `${source.replace('./src/', './').replace(/\.ts$/, '')}.${extension}`;
  if (!existsSync(join(DIST, file))) throw new Error(`package.json names ${source}, but ${file} was not built`);
  return file;
}
