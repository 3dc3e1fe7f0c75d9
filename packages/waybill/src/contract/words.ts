import { WaybillError } from './errors.ts';
import { told } from './told.ts';

/**
 * The options of a call, which may say these words and no other: a misspelt one is an error, and not the default.
 * @throws WaybillError `INVALID_OPTION`
 */
export function checkWords(call: string, options: unknown, words: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw new WaybillError('INVALID_OPTION', `${call}: the options must be an object with ${words.join(', ')}, not ${told(options)}`);
  for (const word of Object.keys(options)) {
    if (!words.includes(word)) throw new WaybillError('INVALID_OPTION', `${call}: ${word} is no option; there is ${words.join(', ')}`);
  }
}
