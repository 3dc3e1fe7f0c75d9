import { WaybillError } from '../contract/errors.ts';

/** What a publish's token stands for. */
export interface TokenContent {
  readonly source: string;
  readonly id: string;
  /** The type that was published, and after it the older ones that travel under the same id. */
  readonly types: readonly string[];
  readonly timeMs: number;
}

/** A string that may travel in a cookie, header or address: a version, then the content in base64url. */
export function writeToken(content: TokenContent): string {
  const json = JSON.stringify([content.source, content.id, content.types, content.timeMs]);
  return `1${Buffer.from(json, 'utf8').toString('base64url')}`;
}

/** Characters of a token that are looked at: it comes from outside. Ours have 300, or 9,000 with every limit reached. */
const tokenMax = 10_000;

/** @throws WaybillError `INVALID_TOKEN` */
export function readToken(token: unknown): TokenContent {
  try {
    if (typeof token === 'string' && token.length <= tokenMax && token[0] === '1') {
      const parts: unknown = JSON.parse(Buffer.from(token.slice(1), 'base64url').toString('utf8'));
      if (Array.isArray(parts)) {
        const [source, id, types, timeMs] = parts as unknown[];
        const named = Array.isArray(types) && types.every((type) => typeof type === 'string');
        if (typeof source === 'string' && typeof id === 'string' && named && typeof timeMs === 'number') {
          return { source, id, types: types as string[], timeMs };
        }
      }
    }
  } catch {
    // falls through: whatever it was, it was no token
  }
  throw new WaybillError('INVALID_TOKEN', 'this is no token of a publish; pass what publish or send returned, unchanged');
}
