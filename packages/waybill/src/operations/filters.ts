import { WaybillError } from '../contract/errors.ts';

/** The words that each list can be asked by. */
const words = {
  failures: ['after', 'limit', 'subscription', 'type', 'code', 'id', 'group'],
  waiting: ['after', 'limit', 'subscription'],
  outbox: ['after', 'limit', 'state', 'id'],
  sagas: ['after', 'limit', 'saga', 'key', 'status'],
} as const;

/** @throws WaybillError `INVALID_OPTION`: a misspelt word would mean everything */
export function checkFilter<F extends object>(list: keyof typeof words, filter: F): F {
  if (typeof filter !== 'object' || filter === null) throw wrong(list, 'a filter is an object, {} for everything');
  for (const [word, value] of Object.entries(filter)) {
    if (!(words[list] as readonly string[]).includes(word)) throw wrong(list, `${word} is no part of a filter; there are ${words[list].join(', ')}`);
    if (value !== undefined && !fits(word, value)) {
      throw wrong(list, `${word} must be ${word === 'after' || word === 'limit' ? 'a whole number from 0 on' : 'a text'}`);
    }
  }
  return filter;
}

/** As `checkFilter`, for what is moved or deleted: `{ id: undefined }` was meant to be one, and would be all. */
export function checkChoice<F extends object>(list: keyof typeof words, filter: F): F {
  checkFilter(list, filter);
  for (const [word, value] of Object.entries(filter)) {
    if (value === undefined) throw wrong(list, `${word} is undefined: leave it out if all are meant`);
  }
  return filter;
}

function fits(word: string, value: unknown): boolean {
  if (word === 'after' || word === 'limit') return Number.isSafeInteger(value) && (value as number) >= 0;
  return typeof value === 'string' || (word === 'subscription' && value === null);
}

function wrong(list: string, why: string): WaybillError {
  return new WaybillError('INVALID_OPTION', `${list}: ${why}`);
}
