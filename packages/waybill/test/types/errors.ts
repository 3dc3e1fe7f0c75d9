import { Reject, RetryLater, WaybillError } from 'waybill';
import { same } from './equal.ts';

export function handle(error: unknown): string {
  if (WaybillError.is(error, 'TX_MISSING')) return error.message;
  if (WaybillError.is(error)) {
    same<(typeof error)['code'], WaybillError['code']>(true);
    // @ts-expect-error codes are a union of literals, so a slip of the pen is found
    if (error.code === 'TX_MISING') return '';
    return error.code;
  }
  // @ts-expect-error there is no such code
  if (WaybillError.is(error, 'OOPS')) return '';
  // @ts-expect-error until it was asked, it is unknown
  return error.message;
}

export const rejected: Error = new Reject('no such product', { code: 'NO_PRODUCT' });
export const later: Error = new RetryLater(5_000);
// @ts-expect-error milliseconds are a number
new RetryLater('5s');
