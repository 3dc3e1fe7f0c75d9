import type { WireMessage } from '../../contract/message.ts';

/** A message whose body says which it is. */
export function message(label: string, of: Partial<WireMessage> = {}): WireMessage {
  const id = of.id ?? `id of ${label}`;
  const source = of.source ?? 'catalog';
  return {
    kind: 'event',
    id,
    source,
    type: 'catalog.price-changed.v1',
    recipient: undefined,
    key: undefined,
    time: Date.UTC(2026, 0, 1),
    headers: { id, source, type: of.type ?? 'catalog.price-changed.v1' },
    body: new TextEncoder().encode(label),
    ...of,
  };
}

/** The labels of what came. */
export function labels(deliveries: readonly { readonly body: Uint8Array }[]): string[] {
  return deliveries.map(({ body }) => new TextDecoder().decode(body));
}
