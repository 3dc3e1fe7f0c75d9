import type { Clock } from './clock.ts';
import { WaybillError, asError } from './errors.ts';
import { isLater } from './maybe.ts';
import type { MaybePromise } from './store.ts';

/**
 * Standard Schema v1, copied as its authors allow (https://standardschema.dev), so that the declarations of this
 * package name no schema library.
 */
export interface StandardSchema<in out Input = unknown, in out Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown, ...rest: any[]) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

export interface StandardIssue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** As long as an asynchronous schema may take where others wait for it: a queue, or a transaction. */
const schemaMaxMs = 30_000;

/**
 * What a schema makes of data; at once, where the schema does. A schema is user code: one that throws, or answers with
 * nothing, has not accepted it; nor has one that does not answer in 30 s by `clock`.
 * @throws WaybillError `CONTRACT_VIOLATION` in that case
 */
export function validate(schema: StandardSchema<any, any>, data: unknown, what: string, clock?: Clock): MaybePromise<StandardResult<unknown>> {
  let answer: MaybePromise<StandardResult<unknown>>;
  try {
    answer = schema['~standard'].validate(data);
  } catch (cause) {
    throw threw(what, cause);
  }
  return isLater(answer) ? validateLater(answer, what, clock) : checkResult(answer, what);
}

async function validateLater(answer: Promise<StandardResult<unknown>>, what: string, clock: Clock | undefined): Promise<StandardResult<unknown>> {
  let result: StandardResult<unknown>;
  try {
    result = await (clock ? inTime(answer, clock) : answer);
  } catch (cause) {
    throw threw(what, cause);
  }
  return checkResult(result, what);
}

function checkResult(result: StandardResult<unknown>, what: string): StandardResult<unknown> {
  if (typeof result === 'object' && result !== null) return result;
  throw new WaybillError('CONTRACT_VIOLATION', `${what}: the schema answered with no result; it must return { value } or { issues }`);
}

function threw(what: string, cause: unknown): WaybillError {
  return new WaybillError('CONTRACT_VIOLATION', `${what}: the schema threw (${asError(cause).message.slice(0, 500)}); mend it`, { cause });
}

function inTime<R>(answer: Promise<R>, clock: Clock): Promise<R> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(schemaMaxMs, () => reject(new Error(`it did not answer within ${schemaMaxMs} ms`)));
    Promise.resolve(answer).finally(cancel).then(resolve, reject);
  });
}

/** Issues as one line, the first five of them: `lines.0.price: Expected number`. */
export function describeIssues(issues: readonly StandardIssue[]): string {
  const shown = issues.slice(0, 5).map((issue) => {
    const path = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
  const more = issues.length - shown.length;
  return shown.join('; ') + (more > 0 ? `; and ${more} more` : '');
}
