/** Which of the sectors that were on their way to a disk have reached it when its power goes: any, in no order. */
interface Image {
  read(into: Uint8Array, offset: number, length: number, position: number): Promise<unknown>;
  write(from: Uint8Array, offset: number, length: number, position: number): Promise<unknown>;
}

export interface Images {
  /** What the disk held; torn sectors are written into it. */
  readonly before: Image;
  /** What it would have held. */
  readonly after: Pick<Image, 'read'>;
}

/** A drive writes one of these at once, and tears between two. */
const sectorSizes = [512, 4_096] as const;
const chunkBytes = 1_048_576;

/**
 * @param places of files, in both images
 * @returns how many sectors of `after` were written into `before`
 */
export async function tearInto({ before, after }: Images, places: readonly { readonly at: number; readonly bytes: number }[], random: () => number): Promise<number> {
  const sector = sectorSizes[Math.floor(random() * sectorSizes.length)]!;
  const share = random();
  const [old, fresh] = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)];
  let torn = 0;
  for (const { at, bytes } of places) {
    for (let done = 0; done < bytes; done += chunkBytes) {
      const length = Math.min(chunkBytes, bytes - done);
      await before.read(old, 0, length, at + done);
      await after.read(fresh, 0, length, at + done);
      for (let from = 0; from < length; from += sector) {
        if (old.compare(fresh, from, from + sector, from, from + sector) === 0 || random() >= share) continue;
        await before.write(fresh, from, sector, at + done + from);
        torn++;
      }
    }
  }
  return torn;
}
