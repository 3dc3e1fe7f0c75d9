/** What goes wrong, on a test's command. Nothing by default. */
import type { AmqpError } from './amqp-error.ts';

/** Where a connection can be cut, in the order of a message's life. */
export const steps = ['attach', 'token', 'arrived', 'stored', 'deliver', 'settle', 'settled', 'manage', 'managed'] as const;
export type Step = (typeof steps)[number];

export class Faults {
  /** Asked at each step; true cuts the connection there. */
  cutAt: (step: Step) => boolean = () => false;
  /** Asked for each message, or batch, that arrives, and each request to `$management`: an error refuses it. */
  refuse: () => AmqpError | undefined = () => undefined;
  /** Told of each link that is detached because its token has ended. */
  expired: () => void = () => {};
  /** Answers no drain, and every goodbye of a receiver with an error, as a service does that is shutting down. */
  rude = false;

  clear(): void {
    this.cutAt = () => false;
    this.refuse = () => undefined;
    this.rude = false;
  }
}
