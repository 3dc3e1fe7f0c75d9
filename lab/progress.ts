/** One line that tells how far a long run is: in place on a terminal, now and then elsewhere. */
export interface Progress {
  update(done: number, detail: string): void;
  end(): void;
}

const widthChars = 30;
/** Without a terminal: a line this often. */
const quietMs = 10_000;

export function createProgress(total: number, unit: string): Progress {
  const beganMs = performance.now();
  let lastMs = 0;
  const line = (done: number, detail: string): string => {
    const part = Math.min(1, done / total);
    const rate = done / Math.max(0.001, (performance.now() - beganMs) / 1000);
    const leftS = Math.max(0, total - done) / Math.max(rate, 0.001);
    const bar = '#'.repeat(Math.round(part * widthChars)).padEnd(widthChars, '.');
    return `[${bar}] ${done} of ${total} ${unit}, ${rate.toFixed(1)}/s, ${Math.ceil(leftS)} s left ${detail}`;
  };
  return {
    update(done, detail) {
      const nowMs = performance.now();
      const everyMs = process.stderr.isTTY ? 100 : quietMs;
      if (nowMs - lastMs < everyMs && done < total) return;
      lastMs = nowMs;
      process.stderr.write(process.stderr.isTTY ? `\r${line(done, detail)}\u001b[K` : `${line(done, detail)}\n`);
    },
    end() {
      if (process.stderr.isTTY) process.stderr.write('\n');
    },
  };
}
