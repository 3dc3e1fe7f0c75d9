/** Headers that are no JSON object are a message that cannot be decoded, not a ledger that cannot be read. */
export function headersOf(text: string | null): Readonly<Record<string, string>> {
  try {
    const headers: unknown = JSON.parse(text ?? '{}');
    if (typeof headers === 'object' && headers !== null && !Array.isArray(headers)) return headers as Record<string, string>;
  } catch {
    // told of by whoever decodes it
  }
  return {};
}
