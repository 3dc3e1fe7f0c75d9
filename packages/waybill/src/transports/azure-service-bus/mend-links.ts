/**
 * `@azure/core-amqp` 4.5 tells the address of a link whose answer did not come in time, and `rhea-promise` 3.0 throws where that link's
 * connection was cut meanwhile and it has no source any more: in a timer, so that the whole process ends by it. Neither is
 * anything that we call. So the address of such a link is mended to be none, which the SDK is prepared for. It reaches into
 * the SDK's dependency; where that is not found, or is of another shape, nothing is changed.
 */
import { createRequire } from 'node:module';

interface Linking {
  readonly Receiver?: { readonly prototype: object };
}

const mended = new WeakSet<object>();

export function mendLinks(): void {
  const { Receiver } = linking();
  const link: unknown = Receiver && Object.getPrototypeOf(Receiver.prototype);
  if (typeof link !== 'object' || link === null || mended.has(link)) return;
  const address = Object.getOwnPropertyDescriptor(link, 'address');
  if (!address?.get || !address.configurable) return;
  mended.add(link);
  const { get } = address;
  Object.defineProperty(link, 'address', {
    ...address,
    get(this: { readonly source?: unknown }): unknown {
      return this.source === undefined ? undefined : (get.call(this) as unknown);
    },
  });
}

/** The SDK's own: its entry is found from here as it is when it is imported. */
function linking(): Linking {
  try {
    return createRequire(import.meta.resolve('@azure/service-bus'))('rhea-promise') as Linking;
  } catch {
    return {};
  }
}
