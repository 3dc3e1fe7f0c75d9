import type { Clock } from './clock.ts';
import { WaybillError, asError } from './errors.ts';

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
 * What a schema makes of data. A schema is user code: one that throws, or answers with nothing, has not accepted it; nor
 * has one that does not answer in 30 s by `clock`.
 * @throws WaybillError `CONTRACT_VIOLATION` in that case
 */
export async function validate(schema: StandardSchema<any, any>, data: unknown, what: string, clock?: Clock): Promise<StandardResult<unknown>> {
  let result: StandardResult<unknown>;
  try {
    const answer = schema['~standard'].validate(data);
    result = await (clock && answer instanceof Promise ? inTime(answer, clock) : answer);
  } catch (cause) {
    throw new WaybillError('CONTRACT_VIOLATION', `${what}: the schema threw (${asError(cause).message.slice(0, 500)}); mend it`, { cause });
  }
  if (typeof result === 'object' && result !== null) return result;
  throw new WaybillError('CONTRACT_VIOLATION', `${what}: the schema answered with no result; it must return { value } or { issues }`);
}

function inTime<R>(answer: Promise<R>, clock: Clock): Promise<R> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(schemaMaxMs, () => reject(new Error(`it did not answer within ${schemaMaxMs} ms`)));
    answer.finally(cancel).then(resolve, reject);
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
