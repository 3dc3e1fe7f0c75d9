/**
 * Keeps a message that may kill the process apart from the others: it runs alone, so that nobody else is charged if the
 * process dies with it (I11). Everything else passes together and pays one counter.
 */
export interface Gate {
  /** Together with others. */
  pass<R>(work: () => Promise<R>): Promise<R>;
  /** With nothing else under way in this process. */
  alone<R>(work: () => Promise<R>): Promise<R>;
}

export function createGate(): Gate {
  let inside = 0;
  let last: Promise<unknown> = Promise.resolve();
  let closed: Promise<unknown> | undefined;
  let emptied: (() => void) | undefined;

  const leave = (): void => {
    if (--inside === 0) emptied?.();
  };

  return {
    async pass(work) {
      while (closed) await closed;
      inside++;
      try {
        return await work();
      } finally {
        leave();
      }
    },
    alone(work) {
      const run = async (): Promise<Awaited<ReturnType<typeof work>>> => {
        if (inside > 0) {
          await new Promise<void>((resolve) => {
            emptied = resolve;
          });
          emptied = undefined;
        }
        return await work();
      };
      const turn = last.then(run, run);
      const settled = turn.then(
        () => {},
        () => {},
      );
      last = settled;
      closed = settled;
      void settled.then(() => {
        if (closed === settled) closed = undefined;
      });
      return turn as ReturnType<typeof work>;
    },
  };
}
