import { checkId, isPlainText } from '../contract/bounds.ts';
import type { Published } from '../contract/api.ts';
import type { Clock } from '../contract/clock.ts';
import { type Draft, definitionOfDraft } from '../contract/contracts.ts';
import { WaybillError } from '../contract/errors.ts';
import type { Desk } from '../contract/internals.ts';
import type { Signals } from '../contract/signals.ts';
import type { StoreTransaction } from '../contract/store.ts';
import type { NewEvent, StreamsPort } from '../contract/streams.ts';
import type { Reading, RecordedEvent } from './events.ts';

/** Events to one append. */
const eventsMax = 1_000;
export const streamNameMax = 200;

export interface Appended {
  /** The stream's version now: that of the last event. */
  readonly version: number;
  /** What `publish` made of the events, in order; their tokens are for `caughtUp`. */
  readonly published: readonly Published[];
}

export interface AppendOptions {
  /** The version that the stream has, 0 for one that is not there yet; `'any'` appends to whatever is there. */
  readonly expectedVersion: number | 'any';
  readonly tx?: unknown;
  /** Integration events to publish in the same transaction. */
  readonly publish?: ((events: readonly any[]) => readonly Draft[]) | undefined;
}

interface Host {
  readonly desk: Desk;
  readonly clock: Clock;
  readonly signals: Signals;
  readonly port: StreamsPort;
  readonly reading: Reading;
}

/** Checks, then writes everything in one transaction: the user's, or one of its own. */
export async function append(host: Host, stream: unknown, drafts: unknown, options: AppendOptions): Promise<Appended> {
  const { desk } = host;
  checkStream(stream);
  const expected = expectedOf(options);
  const events = await newEvents(host, drafts);
  const tx = await desk.target(options.tx, 'append');
  const work = (within: StoreTransaction): Promise<Appended> => write(host, within, { stream, expected, events, publish: options.publish });
  return tx ? work(tx) : desk.own(work);
}

async function write(
  { desk, port, reading, signals }: Host,
  tx: StoreTransaction,
  { stream, expected, events, publish }: { stream: string; expected: number | undefined; events: readonly NewEvent[]; publish: AppendOptions['publish'] },
): Promise<Appended> {
  const { appended, version, stored } = await port.append(tx, stream, expected, events);
  if (!appended) {
    throw new WaybillError('STREAM_CONFLICT', `${stream} is at version ${version}, not ${expected}: read it again and decide anew, in a new transaction`);
  }
  tx.afterCommit(() => {
    signals.emit('appended', { stream, version, events: events.length });
    desk.wake();
  });
  if (!publish) return { version, published: [] };
  const recorded: RecordedEvent<any>[] = [];
  for (const event of stored) recorded.push(await reading.read(event));
  return { version, published: await desk.publish(tx, publish(recorded)) };
}

async function newEvents({ desk, clock, reading }: Host, drafts: unknown): Promise<NewEvent[]> {
  if (!Array.isArray(drafts) || drafts.length === 0 || drafts.length > eventsMax) {
    throw new WaybillError('INVALID_OPTION', `append takes a list of 1 to ${eventsMax} drafts: [Contract.of(data), …]`);
  }
  const cause = desk.cause();
  const timeMs = clock.now();
  return Promise.all(
    (drafts as readonly Draft[]).map(async (draft) => {
      const contract = definitionOfDraft(draft);
      if (!reading.types.has(contract.type)) {
        throw new WaybillError('INVALID_OPTION', `append: ${contract.type} is none of this store's \`events\`, and nobody could read it back`);
      }
      const { id = clock.id(), headers = {}, correlationId, causationId, ...rest } = draft.options;
      const [other] = Object.keys(rest);
      if (other !== undefined) throw new WaybillError('INVALID_OPTION', `append: ${other} is an option of what is published, not of an event in a stream`);
      checkId(id, 'id');
      const { json } = await desk.check(contract, draft.data);
      return {
        ...{ id, timeMs, headers },
        type: contract.type,
        correlationId: correlationId ?? cause?.correlationId ?? id,
        causationId: causationId ?? cause?.id,
        body: json,
      };
    }),
  );
}

export function checkStream(stream: unknown): asserts stream is string {
  if (isPlainText(stream, streamNameMax)) return;
  throw new WaybillError('INVALID_OPTION', `a stream's name is a text of 1 to ${streamNameMax} characters without control characters`);
}

/** Forgetting it would let two writers overwrite each other's decision, so there is no default. */
function expectedOf(options: AppendOptions | undefined): number | undefined {
  const expected: unknown = options?.expectedVersion;
  if (expected === 'any') return undefined;
  if (Number.isSafeInteger(expected) && (expected as number) >= 0) return expected as number;
  throw new WaybillError('INVALID_OPTION', "append: expectedVersion must be the version that was read, 0 for a new stream, or 'any'");
}
