import assert from 'node:assert/strict';

/** Waits for what comes about by itself; only where it does not, for long. */
export async function until(holds: () => boolean | Promise<boolean>, maxMs = 20_000): Promise<void> {
  for (const endMs = Date.now() + maxMs; !(await holds()); await new Promise((resolve) => setTimeout(resolve, 20))) {
    assert.ok(Date.now() < endMs, 'it never came to that');
  }
}
