/**
 * A file system of its own in a file: it can be full, and it can lose its power. The copy of the file at a moment is what
 * the disk holds at that moment: what was synchronized, without what only stands in the operating system's memory. Of that, `tear` brings
 * some sectors to the disk, in no order: what a drive had written when its power went. Torn is what overwrites a file; what makes one
 * longer is not there at all, as its length is not, and the file system's own blocks have a journal. Needs Linux, and the right to mount.
 */
import { execFile } from 'node:child_process';
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { tearInto } from './tear.ts';

const run = promisify(execFile);
const sizeMb = 1_024;
const blockBytes = 4_096;
/** Longer than a power cut is away from the last one: only what somebody synchronizes gets to the disk. */
const commitS = 300;

export interface Disk {
  readonly path: string;
  /** Nothing more fits. */
  fill(): Promise<void>;
  empty(): Promise<void>;
  /** What the disk holds now; whoever writes to it must stand still. */
  snapshot(): Promise<void>;
  /** After `snapshot`, while they still stand still: some of what was not synchronized is on the disk. How many sectors. */
  tear(random: () => number): Promise<number>;
  /** The disk as it was at `snapshot`. Nobody may have a file of it open. */
  restore(): Promise<void>;
  close(): Promise<void>;
}

export async function mountDisk(path: string, file: string): Promise<Disk> {
  const mount = async (image: string, where: string): Promise<void> => {
    await run('mount', ['-o', `loop,commit=${commitS}`, image, where]);
    await chmod(where, 0o777); // PostgreSQL runs as a user of its own
  };
  const unmount = async (where: string): Promise<void> => {
    for (let tries = 1; ; tries++) {
      try {
        await run('umount', [where]);
        return;
      } catch (error) {
        if (tries === 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100)); // the last of the dead is just being reaped
      }
    }
  };
  await run('truncate', ['-s', `${sizeMb}M`, file]);
  await run('mkfs.ext4', ['-q', '-m', '0', '-b', String(blockBytes), file]);
  await mount(file, path);
  const filler = `${path}/filler`;
  const cut = `${file}.cut`;
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
      await run('cp', ['--sparse=always', file, cut]);
    },
    async tear(random) {
      const look = `${file}.look`;
      await mkdir(look, { recursive: true });
      await mount(cut, look); // its journal makes it whole
      let places: Awaited<ReturnType<typeof placesIn>>;
      try {
        places = await placesIn(look);
      } finally {
        await unmount(look);
      }
      await run('sync', ['-f', path]); // now the disk itself has all that was not synchronized
      const [before, after] = [await open(cut, 'r+'), await open(file, 'r')];
      try {
        return await tearInto({ before, after }, places, random);
      } finally {
        await before.close();
        await after.close();
      }
    },
    async restore() {
      await unmount(path);
      await rename(cut, file);
      await mount(file, path);
    },
    close: () => unmount(path),
  };
}

/** Where the blocks of files lie in the image: `filefrag -v` says, in blocks, `0: 0.. 3: 34816.. 34819: 4: last`. */
async function placesIn(folder: string): Promise<{ at: number; bytes: number }[]> {
  const { stdout } = await run('find', [folder, '-type', 'f', '-size', '+0', '-exec', 'filefrag', `-b${blockBytes}`, '-v', '{}', '+'], { maxBuffer: 1e8 });
  return [...stdout.matchAll(/^\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+):(.*)$/gm)]
    .filter(([, , , flags]) => !/unwritten|inline|delalloc/.test(flags!))
    .map(([, first, count]) => ({ at: Number(first) * blockBytes, bytes: Number(count) * blockBytes }));
}
