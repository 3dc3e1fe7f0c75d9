import { randomUUID } from 'node:crypto';
import { SERVICE_NAMES, type Action, type FromSupervisor, type ServiceName, type ServiceState } from '../supervisor/messages.ts';
import type { Report } from '../service/measure.ts';
import { tell } from '../service/run.ts';
import { Problem } from '../service/problem.ts';

/** Milliseconds between two looks at a service, and for its answer. */
const LOOK_EVERY_MS = 1_000;
const LOOK_MS = 900;
/** Milliseconds for start.ts to do what it is asked; it gives a service 30 s to start. */
const ASK_MS = 35_000;

/** How a service is, as far as the storefront can tell. */
export interface Watched {
  readonly name: ServiceName;
  readonly answering: boolean;
  /** When it began to answer, or was last heard of. */
  readonly since: Date;
  /** Its process, when start.ts runs it. */
  readonly process: ServiceState | undefined;
  /** What it last said of itself. */
  readonly report: Report | undefined;
}

/**
 * Watches over the other services: their processes (start.ts says when one changes) and how far each is behind (each is
 * asked every second). This is about the services' health only; data comes by messages.
 */
export interface Watch {
  /** Resolves once every service that runs was looked at. */
  ready(): Promise<void>;
  get(name: ServiceName): Watched;
  list(): Watched[];
  url(name: ServiceName): string | undefined;
  /** Whether start.ts is there to start and stop services. */
  readonly supervised: boolean;
  /** Asks start.ts, and resolves when it is done. @throws Problem */
  ask(name: ServiceName, action: Action): Promise<Watched>;
  close(): void;
}

export function watchServices(options: { onLook(): void; onChange(): void }): Watch {
  const supervised = process.send !== undefined;
  const watched = new Map<ServiceName, Watched>(
    SERVICE_NAMES.map((name) => [name, { name, answering: false, since: new Date(), process: undefined, report: undefined }]),
  );
  const heardAt = new Map<ServiceName, Date>();
  const questions = new Map<string, (error: string | undefined) => void>();
  let isOpen = true;

  const update = (name: ServiceName, news: Partial<Watched>): void => {
    const before = watched.get(name)!;
    const after = { ...before, ...news };
    watched.set(name, after);
    if (before.answering !== after.answering || before.process?.state !== after.process?.state) options.onChange();
  };

  const url = (name: ServiceName): string | undefined =>
    watched.get(name)!.process?.url ?? process.env[`${name.toUpperCase()}_URL`];

  const look = async (name: ServiceName): Promise<void> => {
    const address = url(name);
    const report = address === undefined ? undefined : await read(`${address}/health/behind`);
    // What a process said that has ended meanwhile does not count.
    if (url(name) !== address) return;
    const { answering, since } = watched.get(name)!;
    if (report) {
      heardAt.set(name, new Date());
      update(name, { answering: true, since: answering ? since : new Date(), report });
    } else {
      update(name, { answering: false, since: answering ? heardAt.get(name)! : since });
    }
  };

  let listed = (): void => undefined;
  const list = new Promise<void>((resolve) => (listed = resolve));
  const hear = (message: FromSupervisor): void => {
    if (message.say === 'answer') questions.get(message.id)?.(message.error);
    if (message.say !== 'services') return;
    for (const state of message.services) {
      const before = watched.get(state.name)!;
      const isGone = state.url === undefined && before.answering;
      update(state.name, isGone ? { process: state, answering: false, since: new Date(state.since) } : { process: state });
      if (state.url !== undefined && !before.answering) void look(state.name);
    }
    listed();
  };
  process.on('message', hear);
  tell({ say: 'services?' });

  const timer = setInterval(() => {
    void Promise.all(SERVICE_NAMES.map(look)).then(() => isOpen && options.onLook());
  }, LOOK_EVERY_MS);

  return {
    supervised,
    url,
    async ready() {
      if (supervised) await list;
      await Promise.all(SERVICE_NAMES.filter((name) => url(name) !== undefined).map(look));
    },
    get: (name) => watched.get(name)!,
    list: () => [...watched.values()],
    close() {
      isOpen = false;
      clearInterval(timer);
      process.off('message', hear);
    },

    async ask(name, action) {
      if (!supervised)
        throw new Problem(
          409,
          'not-supervised',
          'This shop was not started by start.ts, so nobody here can start and stop services.',
        );
      const id = randomUUID();
      const error = await new Promise<string | undefined>((resolve) => {
        const late = setTimeout(() => resolve(`start.ts did not answer within ${ASK_MS / 1_000} s`), ASK_MS);
        questions.set(id, (answer) => (clearTimeout(late), resolve(answer)));
        tell({ say: 'ask', id, service: name, action });
      });
      questions.delete(id);
      if (error !== undefined) throw new Problem(502, 'service-did-not-obey', `${name}: ${error}`);
      await look(name);
      return watched.get(name)!;
    },
  };
}

async function read(address: string): Promise<Report | undefined> {
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(LOOK_MS) });
    return response.ok ? ((await response.json()) as Report) : undefined;
  } catch {
    return undefined;
  }
}
