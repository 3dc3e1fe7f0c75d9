/** What stands at a broker for a service, as its driver would make it, and as it is found there. */

/** One thing at the broker. */
export interface Entity {
  /** In the broker's own word: `topic`, `subscription`, `rule`, `queue`, `exchange`, `bindings`. */
  readonly kind: string;
  /** Unique among its kind. */
  readonly name: string;
  /** The subscription of the bus that it is for; undefined: the service as a whole. */
  readonly subscription: string | undefined;
  /** The subscription's messages are received from it. */
  readonly received: boolean;
  /** With which it is created. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
}

export type Seen =
  | { readonly state: 'there' }
  | { readonly state: 'missing' }
  /** It was made with other settings: what differs, in words. */
  | { readonly state: 'different'; readonly detail: string }
  /** It cannot be asked about, by this protocol or with these rights. */
  | { readonly state: 'unseen'; readonly detail: string };
