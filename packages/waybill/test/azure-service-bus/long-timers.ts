/**
 * Imported first by tests that cut connections. The SDK keeps a timer of a minute for each answer that a cut connection
 * still owes it, also after its client was closed; they must not hold the test's process.
 */
const longMs = 20_000;
const real = globalThis.setTimeout;

globalThis.setTimeout = Object.assign((...args: Parameters<typeof setTimeout>) => {
  const timer = real(...args);
  if ((args[1] ?? 0) >= longMs) timer.unref();
  return timer;
}, real) as typeof setTimeout;
