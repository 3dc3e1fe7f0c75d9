type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles if and only if both types are the same: `same<A, B>(true)`. */
export function same<A, B>(_proof: Equal<A, B>): void {}

same<{ a: string }, { a: string }>(true);
same<{ a: string }, { a?: string }>(false);
// @ts-expect-error the types differ, so there is no such proof
same<string, number>(true);
// @ts-expect-error any is not the same as what it stands for
same<any, string>(true);
