import { WaybillError } from '../../contract/errors.ts';

/**
 * This bus may not commit what it holds of the subscription: another one has taken it over, or what is declared has
 * changed under it. Whoever gets it drops everything it received, commits nothing of it, and receives anew.
 */
export class LeaseLost extends WaybillError {
  readonly subscription: string;

  constructor(subscription: string, why: string) {
    super('LEASE_LOST', `${subscription}: ${why}; what was received comes again`);
    this.subscription = subscription;
  }
}
