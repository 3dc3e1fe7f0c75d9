/** The command: in this process, where a new one would take a second each time, and as a shell runs it. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { run } from '../src/program.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));

/** A module in `apps`, as `--app` takes it. */
export function app(name: string): string {
  return join(fileURLToPath(new URL('apps', import.meta.url)), name);
}

export interface Ended {
  readonly code: number;
  /** Data. */
  readonly out: string;
  /** For people. */
  readonly err: string;
}

/** With these variables and none of the developer's own. One at a time. `answer`: somebody sits there, and types this. */
export async function waybill(args: readonly string[], env: NodeJS.ProcessEnv = {}, answer?: string): Promise<Ended> {
  const before = { ...process.env };
  for (const name of Object.keys(process.env)) if (name.startsWith('WAYBILL_')) delete process.env[name];
  Object.assign(process.env, env);
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  if (answer !== undefined) stdin.write(`${answer}\n`);
  try {
    const code = await run(args, { stdin: Object.assign(stdin, { isTTY: answer !== undefined }), stdout, stderr });
    return { code, out: String(stdout.read() ?? ''), err: String(stderr.read() ?? '') };
  } finally {
    for (const name of Object.keys(process.env)) if (!Object.hasOwn(before, name)) delete process.env[name];
    Object.assign(process.env, before);
  }
}

export function inShell(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const { NODE_TEST_CONTEXT: _context, ...rest } = process.env;
  const inherited = Object.fromEntries(Object.entries(rest).filter(([name]) => !name.startsWith('WAYBILL_')));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args], { env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000, killSignal: 'SIGKILL' });
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => void (out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => void (err += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 128, out, err }));
  });
}
