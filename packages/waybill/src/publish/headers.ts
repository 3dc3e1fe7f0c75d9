import { WaybillError } from '../contract/errors.ts';
import { control } from '../contract/order.ts';

/** Lower-case tokens: they survive every broker, and HTTP (RFC 9110 §5.6.2), unchanged. */
const namePattern = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Names that mean something to Waybill or to transports. */
const reserved = /^(?:ce-|cloudevents|waybill|content-type$|x-)/;

/** Of a message without own headers. */
export const noHeaders: Readonly<Record<string, string>> = Object.freeze(Object.create(null) as Record<string, string>);

/**
 * Own headers, checked one by one, on an object without prototype.
 * @throws WaybillError `INVALID_HEADER`
 */
export function checkHeaders(headers: Readonly<Record<string, unknown>> | undefined): Record<string, string> {
  const checked = Object.create(null) as Record<string, string>;
  if (headers === undefined) return checked;
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) {
    throw new WaybillError('INVALID_HEADER', 'headers must be an object of names and values');
  }
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    if (value === undefined) continue;
    const shown = JSON.stringify(name.slice(0, 80));
    if (!namePattern.test(name)) {
      throw new WaybillError(
        'INVALID_HEADER',
        `header ${shown}: a name is up to 64 lower-case letters, digits, dots, dashes and underscores`,
      );
    }
    if (reserved.test(name)) {
      throw new WaybillError('INVALID_HEADER', `header ${shown}: names that begin with ce-, x-, cloudevents or waybill are taken`);
    }
    if (typeof value !== 'string') throw new WaybillError('INVALID_HEADER', `header ${shown}: the value is no string`);
    if (control.test(value) || !value.isWellFormed()) {
      throw new WaybillError('INVALID_HEADER', `header ${shown}: the value has control characters or broken Unicode`);
    }
    checked[name] = value;
  }
  return checked;
}
