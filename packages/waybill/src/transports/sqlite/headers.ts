import { headersFrom, type HeaderColumns } from '../../stores/sqlite/wire.ts';

/** Headers that are no JSON object are a message that cannot be decoded, not a ledger that cannot be read. */
export function headersOf(row: HeaderColumns & { readonly headers: string }): Readonly<Record<string, string>> {
  try {
    const headers = headersFrom(row.headers, row);
    if (typeof headers === 'object' && headers !== null && !Array.isArray(headers)) return headers as Record<string, string>;
  } catch {
    // told of by whoever decodes it
  }
  return {};
}
