/** Lock tokens as the wire has them. */

/** Delivery tags carry the token in the byte order of .NET's Guid; `$management` carries it in that of RFC 9562. */
export function tagOf(token: string): Buffer {
  const bytes = uuidBytes(token);
  return Buffer.from([3, 2, 1, 0, 5, 4, 7, 6].map((at) => bytes[at]!).concat([...bytes.subarray(8)]));
}

export function uuidBytes(token: string): Buffer {
  return Buffer.from(token.replaceAll('-', ''), 'hex');
}

export function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
