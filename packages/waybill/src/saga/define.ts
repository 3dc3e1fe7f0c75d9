import { definitionOf } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import { type Saga, type SagaBuilder, type SagaDefinition, definitionOfSaga, sagaKey } from '../contract/saga.ts';
import type { StandardSchema } from '../contract/schema.ts';

const namePattern = /^[a-z][a-z0-9]*(?:-[a-z0-9]+)*$/;
const nameLengthMax = 80;
/** Of timeouts and steps: they stand in stored ledgers. */
const wordLengthMax = 80;
const wordsMax = 64;
/** A hundred years; more is a mistake in the unit. */
const timeoutMaxMs = 100 * 365 * 86_400_000;
const known: ReadonlySet<string> = new Set(['state', 'version', 'initial', 'timeouts', 'steps', 'late', 'migrate', 'previous']);

/**
 * Defines a saga: one instance for each key, which takes messages one at a time, keeps state between them, and ends:
 * completed, compensated, or visibly parked.
 *
 * @param name lower-case words joined by dashes. With the service it names the queue: `ordering.order-process`
 * @throws WaybillError `INVALID_SAGA` when the definition contradicts itself
 */
export function defineSaga<
  const Name extends string,
  Input,
  State,
  const Timeouts extends Readonly<Record<string, number>> = {},
  const Steps extends string = never,
>(
  name: Name,
  definition: {
    /** Of the state, which is kept as JSON: what the schema makes of it must pass as input again. */
    state: StandardSchema<Input, State>;
    /** Raised with each change that instances of before do not fit. @default 1 */
    version?: number;
    /** From the key alone: whichever message comes first starts it. */
    initial: (key: string) => NoInfer<Input>;
    /** Names, and after how many milliseconds each comes unless the call says otherwise. */
    timeouts?: Timeouts;
    /** What can be undone. Each needs a `compensate`. */
    steps?: readonly Steps[];
    /** What becomes of a message for an instance that has ended, or is ending: counted, or a failure `SAGA_ENDED`. @default 'drop' */
    late?: 'drop' | 'fail';
    /** The state of an older version → this one's. Without it, older instances need `previous`. */
    migrate?: (old: any, fromVersion: number) => NoInfer<Input>;
    /** The definition before this one: instances that it began go on with it, unless `migrate` brings them here. */
    previous?: Saga;
  },
): SagaBuilder<Name, State, Extract<keyof Timeouts, string>, Steps> {
  const built = check(name, definition);
  const refuse = refusal(name);
  const add = (what: string, step: unknown, change: () => void): typeof builder => {
    if (built.sealed) refuse(`a bus runs it already: add ${what} before`);
    if (typeof step !== 'function') refuse(`${what} must be a function`);
    change();
    return builder;
  };
  const event = (starts: boolean) => (contract: unknown, key: (event: any) => string, step: (event: any, saga: any) => unknown) => {
    const found = definitionOf(contract);
    if (found.kind !== 'event') refuse(`${found.type} is a command; a saga answers events, and replies by onReply`);
    if (typeof key !== 'function') refuse(`${found.type} needs a function that makes the saga's key of it`);
    if (built.events.has(found.type)) refuse(`${found.type} has a step already`);
    return add(`the step of ${found.type}`, step, () => built.events.set(found.type, { contract: found, starts, key, step }));
  };
  const builder = {
    kind: 'saga',
    name,
    version: built.version,
    startedBy: event(true),
    on: event(false),
    onReply(contract: unknown, step: any, failed?: any) {
      const found = definitionOf(contract);
      if (found.kind !== 'command') refuse(`${found.type} is an event: nobody replies to it`);
      if (built.replies.has(found.type)) refuse(`the reply to ${found.type} has a step already`);
      if (failed !== undefined && typeof failed !== 'function') refuse(`what takes a failed ${found.type} must be a function`);
      return add(`the reply to ${found.type}`, step, () => built.replies.set(found.type, { contract: found, step, failed }));
    },
    onTimeout(timeout: string, step: any) {
      if (!Object.hasOwn(built.timeouts, timeout)) refuse(`there is no timeout ${JSON.stringify(timeout)}: name it in timeouts`);
      if (built.onTimeout.has(timeout)) refuse(`the timeout ${timeout} has a step already`);
      return add(`the timeout ${timeout}`, step, () => built.onTimeout.set(timeout, step));
    },
    compensate(step: string, undo: any) {
      if (!built.steps.includes(step)) refuse(`there is no step ${JSON.stringify(step)}: name it in steps`);
      if (built.undo.has(step)) refuse(`the step ${step} is compensated already`);
      return add(`the compensation of ${step}`, undo, () => built.undo.set(step, undo));
    },
    [sagaKey]: built,
  };
  return builder as unknown as SagaBuilder<Name, State, Extract<keyof Timeouts, string>, Steps>;
}

/** What only shows when all of it is there. After this nothing may be added. @throws WaybillError `INVALID_SAGA` */
export function seal(definition: SagaDefinition): void {
  const refuse = refusal(definition.name);
  if (![...definition.events.values()].some(({ starts }) => starts)) refuse('nothing starts it: it needs a startedBy');
  for (const timeout of Object.keys(definition.timeouts)) {
    if (!definition.onTimeout.has(timeout)) refuse(`the timeout ${timeout} has no onTimeout: an instance would wait for nothing`);
  }
  for (const step of definition.steps) if (!definition.undo.has(step)) refuse(`the step ${step} has no compensate`);
  definition.sealed = true;
  if (definition.previous) seal(definition.previous);
}

function check(name: unknown, given: Record<string, any>): SagaDefinition {
  const refuse = refusal(name);
  if (typeof name !== 'string' || !namePattern.test(name) || name.length > nameLengthMax) {
    refuse(`a name is up to ${nameLengthMax} lower-case letters and digits in words joined by dashes`);
  }
  if (typeof given !== 'object' || given === null) refuse('pass a definition, { state, initial } at least');
  for (const word of Object.keys(given)) if (!known.has(word)) refuse(`${JSON.stringify(word)} is no part of a saga`);
  const { state, version = 1, initial, timeouts = {}, steps = [], late = 'drop', migrate, previous } = given;
  if (typeof (state as StandardSchema | undefined)?.['~standard']?.validate !== 'function') refuse('state must be a Standard Schema (zod, valibot, arktype, …)');
  if (!Number.isSafeInteger(version) || version < 1) refuse('version must be a whole number from 1 on');
  if (typeof initial !== 'function') refuse('initial must be a function: (key) => state');
  if (typeof timeouts !== 'object' || timeouts === null) refuse('timeouts must be an object: names and milliseconds');
  for (const [timeout, ms] of Object.entries(timeouts)) {
    checkWord(timeout, refuse);
    if (!isDelay(ms)) refuse(`the timeout ${timeout} must be a number of milliseconds from 0 to ${timeoutMaxMs}`);
  }
  if (!Array.isArray(steps) || new Set(steps).size !== steps.length) refuse('steps must be a list of names, each once');
  for (const step of steps) checkWord(step, refuse);
  if (steps.length > wordsMax || Object.keys(timeouts).length > wordsMax) refuse(`at most ${wordsMax} steps and ${wordsMax} timeouts`);
  if (late !== 'drop' && late !== 'fail') refuse(`late must be 'drop' or 'fail'`);
  if (migrate !== undefined && typeof migrate !== 'function') refuse('migrate must be a function: (old, fromVersion) => state');
  const before = previous === undefined ? undefined : definitionOfSaga(previous);
  if (before && (before.name !== name || before.version >= version)) refuse('previous must be an older version of the same saga');
  return {
    name: name as string,
    version,
    schema: state,
    initial,
    timeouts: { ...timeouts },
    steps: [...steps],
    late,
    migrate,
    previous: before,
    events: new Map(),
    replies: new Map(),
    onTimeout: new Map(),
    undo: new Map(),
    sealed: false,
  };
}

export function isDelay(ms: unknown): ms is number {
  return typeof ms === 'number' && ms >= 0 && ms <= timeoutMaxMs;
}

function checkWord(word: unknown, refuse: (why: string) => never): void {
  if (typeof word !== 'string' || word === '' || word.length > wordLengthMax || word === '__proto__') {
    refuse(`names of timeouts and steps are texts of 1 to ${wordLengthMax} characters`);
  }
}

function refusal(name: unknown): (why: string) => never {
  return (why) => {
    throw new WaybillError('INVALID_SAGA', `saga ${JSON.stringify(name)}: ${why}`);
  };
}
