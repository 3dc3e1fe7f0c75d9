/**
 * A file system of its own in a file: it can be full, and it can lose its power. The copy of the file at a moment is what
 * the disk holds at that moment: what was synchronized, without what only stands in the operating system's memory. Torn
 * and reordered sectors are not modelled. Needs Linux, and the right to mount.
 */
import { execFile } from 'node:child_process';
import { chmod, rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const sizeMb = 1_024;
/** Longer than a power cut is away from the last one: only what somebody synchronizes gets to the disk. */
const commitS = 300;

export interface Disk {
  readonly path: string;
  /** Nothing more fits. */
  fill(): Promise<void>;
  empty(): Promise<void>;
  /** What the disk holds now; whoever writes to it must stand still. */
  snapshot(): Promise<void>;
  /** The disk as it was at `snapshot`. Nobody may have a file of it open. */
  restore(): Promise<void>;
  close(): Promise<void>;
}

export async function mountDisk(path: string, file: string): Promise<Disk> {
  const mount = async (): Promise<void> => {
    await run('mount', ['-o', `loop,commit=${commitS}`, file, path]);
    await chmod(path, 0o777); // PostgreSQL runs as a user of its own
  };
  const unmount = async (): Promise<void> => {
    for (let tries = 1; ; tries++) {
      try {
        await run('umount', [path]);
        return;
      } catch (error) {
        if (tries === 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100)); // the last of the dead is just being reaped
      }
    }
  };
  await run('truncate', ['-s', `${sizeMb}M`, file]);
  await run('mkfs.ext4', ['-q', '-m', '0', file]);
  await mount();
  const filler = `${path}/filler`;
  return {
    path,
    async fill() {
      await run('sh', ['-c', `fallocate -l "$(df --output=avail -B1 '${path}' | tail -1)" '${filler}' || true; dd if=/dev/zero of='${filler}.2' bs=4k count=100000 2>/dev/null || true`]);
    },
    async empty() {
      await rm(filler, { force: true });
      await rm(`${filler}.2`, { force: true });
    },
    async snapshot() {
      await run('cp', ['--sparse=always', file, `${file}.cut`]);
    },
    async restore() {
      await unmount();
      await rename(`${file}.cut`, file);
      await mount();
    },
    close: unmount,
  };
}
