/**
 * What the messages are like: their size (`--payload 1000`; bytes of JSON, default 200) and how many keys they have
 * (`--keys 10`; default 1,000). Processes that a benchmark starts are told by their environment.
 */
function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(`--${name}`);
  const text = at < 0 ? process.env[`BENCH_${name.toUpperCase()}`] : process.argv[at + 1];
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new Error(`--${name} takes a whole number from 1 on, not ${text}`);
  return value;
}

export const usual = 200;
export const workload = { bytes: option('payload', usual), keys: option('keys', 1_000) };

/** Of a message whose other fields take `others` bytes. */
export function filler(others: number): string {
  return 'x'.repeat(Math.max(1, workload.bytes - others));
}

/** For a process that a benchmark starts. */
export function environment(): NodeJS.ProcessEnv {
  return { ...process.env, BENCH_PAYLOAD: String(workload.bytes), BENCH_KEYS: String(workload.keys) };
}
