/**
 * When a lock is renewed: at half of what is left of it. The broker says until when it holds by its own clock; where ours is
 * behind, that would be too late, so nothing is trusted to be longer than locks are made here. A renewal that fails (the
 * namespace is throttled, an answer was lost) is tried again while there may be something left.
 */
const leftMinMs = 1_000;
/** Of a lock, so that there are four more tries before it has run out. */
const againPart = 8;

export function renewAfterMs(lockedUntil: Date | undefined, nowMs: number, lockMs: number): number {
  const leftMs = (lockedUntil?.getTime() ?? 0) - nowMs;
  return Math.min(Math.max(leftMinMs, leftMs), lockMs) / 2;
}

export function renewAgainMs(lockMs: number): number {
  return lockMs / againPart;
}
