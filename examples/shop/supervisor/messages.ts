/** What start.ts and its processes say to each other, over the channel that `fork` opens. */

/** `gateway` is somebody else's, and has no bus. */
export const SERVICE_NAMES = ['catalog', 'gateway', 'basket', 'ordering', 'payment', 'storefront'] as const;
export type ServiceName = (typeof SERVICE_NAMES)[number];

/**
 * Who starts together. With files the storefront last, so that whoever reaches it finds a whole shop. With a broker the
 * catalogue last: what is published before a queue is there never gets into it.
 */
export function startOrder(transport: string | undefined): readonly (readonly ServiceName[])[] {
  const files = transport === undefined || /^(sqlite:|$)/.test(transport);
  return files
    ? [['catalog', 'gateway'], ['basket', 'ordering', 'payment'], ['storefront']]
    : [['gateway'], ['basket', 'ordering', 'payment', 'storefront'], ['catalog']];
}

export type Action = 'stop' | 'kill' | 'start';

/** A process as its supervisor sees it. */
export interface ServiceState {
  readonly name: ServiceName;
  /** `waiting`: it died, and is started again in a moment. `failed`: it died too often, and waits to be started by hand. */
  readonly state: 'stopped' | 'starting' | 'running' | 'stopping' | 'waiting' | 'failed';
  /** When it came into this state, ISO 8601. */
  readonly since: string;
  readonly pid: number | undefined;
  readonly url: string | undefined;
  /** How often it was started again after dying by itself. */
  readonly restarts: number;
}

/** Milliseconds for the services to learn the first catalogue; whoever needs longer learns on while the shop is open. */
export const LEARN_MS = 3_500;

export type FromSupervisor =
  /** `token` stands for what must be known before the shop is of use: the first catalogue. Answered by `learned`. */
  | { readonly say: 'learn'; readonly token: string }
  | { readonly say: 'stop' }
  /** Sent to the storefront when it asks, and at each change. */
  | { readonly say: 'services'; readonly services: readonly ServiceState[] }
  | { readonly say: 'answer'; readonly id: string; readonly error?: string };

export type ToSupervisor =
  /** `token` stands for what the service has published before it was ready. */
  | { readonly say: 'ready'; readonly url: string; readonly token: string | undefined }
  | { readonly say: 'learned' }
  | { readonly say: 'services?' }
  | { readonly say: 'ask'; readonly id: string; readonly service: ServiceName; readonly action: Action };
