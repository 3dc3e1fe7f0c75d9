import { WaybillError } from '../contract/errors.ts';

/** What a publish's token stands for. */
export interface TokenContent {
  readonly source: string;
  readonly id: string;
  /** The type that was published, and after it the older ones that travel under the same id. */
  readonly types: readonly string[];
  readonly timeMs: number;
}

/**
 * A string that may travel in a cookie, header or address: a version, then the content. Service and type names are made
 * of characters that nobody encodes on the way (RFC 3986 §2.3), and so are most ids: those tokens (2) say it plainly, with
 * an end that tells a cut one. Else (1) it is JSON in base64url.
 */
export function writeToken({ source, id, types, timeMs }: TokenContent): string {
  if (plain.test(id)) return `2~${timeMs}~${source}~${id}~${types.length === 1 ? types[0] : types.join('~')}~~`;
  return `1${Buffer.from(JSON.stringify([source, id, types, timeMs]), 'utf8').toString('base64url')}`;
}
const plain = /^[\w.-]+$/;
const plainToken = /^2~(\d{1,16})~([\w.-]+)~([\w.-]+)~([\w.-]+\.v\d+(?:~[\w.-]+\.v\d+)*)~~$/;

/** Characters of a token that are looked at: it comes from outside. Ours have 300, or 9,000 with every limit reached. */
const tokenMax = 10_000;

/** @throws WaybillError `INVALID_TOKEN` */
export function readToken(token: unknown): TokenContent {
  try {
    const parts = typeof token === 'string' && token.length <= tokenMax ? plainToken.exec(token) : null;
    if (parts) return { source: parts[2]!, id: parts[3]!, types: parts[4]!.split('~'), timeMs: Number(parts[1]) };
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
