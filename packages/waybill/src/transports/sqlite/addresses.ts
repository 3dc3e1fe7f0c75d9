/**
 * Who waits for replies: a file `replies/<address>` for each instance that does, which holds its owner. A sender sees
 * from it that nobody listens any more: the file is gone, or its owner is.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isReplyAddress, repliesFolder, serviceOfRecipient } from './names.ts';
import { isAlive } from './owner.ts';

/** Says that the address is listened to, and clears away what dead instances of its service left. */
export function announce(directory: string, address: string, owner: string): void {
  const folder = repliesFolder(directory);
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) {
    if (serviceOfRecipient(name) === serviceOfRecipient(address) && !isAnnounced(directory, name)) withdraw(directory, name);
  }
  writeFileSync(join(folder, address), owner);
}

export function withdraw(directory: string, address: string): void {
  rmSync(join(repliesFolder(directory), address), { force: true });
}

/** False only when certainly nobody listens there. */
export function isAnnounced(directory: string, address: string): boolean {
  if (!isReplyAddress(address)) return false;
  try {
    const owner = readFileSync(join(repliesFolder(directory), address), 'latin1');
    return owner === '' || isAlive(owner); // empty: it is just being written
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}
