import { fork, type ChildProcess } from 'node:child_process';
import type { FromSupervisor, ServiceName, ServiceState, ToSupervisor } from './messages.ts';

/*
 * The states of a process and what moves it from one to the next:
 *
 *   stopped ──start──▶ starting ──ready──▶ running ──stop──▶ stopping ──exit──▶ stopped
 *                         │  ▲                │ kill ──────────────────exit──▶ stopped
 *                         │  └──back-off──waiting ◀──exit, unasked──┘
 *                         └──exit──▶ waiting, or failed after DEATHS_MAX
 */

/** Milliseconds before a service that died is started again: doubled with each death, up to the second. */
const BACK_OFF_MS = 200;
const BACK_OFF_MAX_MS = 5_000;
/** Deaths in a row before we give up. A run of this many milliseconds ends the row. */
const DEATHS_MAX = 8;
const HEALTHY_MS = 3_000;
/** Milliseconds for a service to become ready, and to leave when asked. */
const READY_MS = 30_000;
const STOP_MS = 8_000;
/** Lines of output kept to explain why a service did not start. */
const LAST_LINES = 12;

export interface Program {
  readonly name: ServiceName;
  readonly file: string;
  /** Asked for at each start, so that a crash point is armed for the first run only. */
  env(): NodeJS.ProcessEnv;
  /** Milliseconds before the first start after a death; doubled with each death in a row. @default 200 */
  readonly backOffMs?: number;
}

export interface Listener {
  changed(): void;
  said(name: ServiceName, message: ToSupervisor): void;
  printed(name: ServiceName, line: string): void;
}

/** One service: starts its process, stops it, kills it, and starts it again when it dies by itself. */
export class ServiceProcess {
  readonly name: ServiceName;
  /** What the service's first ready message carried. */
  token: string | undefined;

  readonly #program: Program;
  readonly #listener: Listener;
  #state: ServiceState['state'] = 'stopped';
  #since = new Date();
  #child: ChildProcess | undefined;
  #url: string | undefined;
  #deaths = 0;
  #restarts = 0;
  #backOff: NodeJS.Timeout | undefined;
  #lastLines: string[] = [];

  constructor(program: Program, listener: Listener) {
    this.name = program.name;
    this.#program = program;
    this.#listener = listener;
  }

  get state(): ServiceState {
    return {
      name: this.name,
      state: this.#state,
      since: this.#since.toISOString(),
      pid: this.#child?.pid,
      url: this.#url,
      restarts: this.#restarts,
    };
  }

  /** What the process printed last: the reason when it does not start. */
  get lastLines(): string {
    return this.#lastLines.join('\n');
  }

  say(message: FromSupervisor): void {
    if (this.#child?.connected) this.#child.send(message, () => undefined);
  }

  /** Starts the process, unless it runs, and resolves once it is ready. */
  async start(): Promise<void> {
    if (this.#state === 'stopping') await this.#until(['stopped']);
    if (this.#state === 'stopped' || this.#state === 'failed' || this.#state === 'waiting') {
      this.#deaths = 0;
      this.#spawn();
    }
    await this.#until(['running']);
  }

  /** Asks the process to finish what it does and leave. */
  async stop(): Promise<void> {
    if (this.#settledAlready()) return;
    this.#become('stopping');
    this.say({ say: 'stop' });
    const timer = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_MS);
    await this.#until(['stopped']);
    clearTimeout(timer);
  }

  /** Ends the process where it stands, as a power cut does. It stays down until it is started. */
  async kill(): Promise<void> {
    if (this.#settledAlready()) return;
    this.#become('stopping');
    this.#child?.kill('SIGKILL');
    await this.#until(['stopped']);
  }

  /** As `kill`, but as if it had died by itself: it comes back. */
  crash(): void {
    this.#child?.kill('SIGKILL');
  }

  /** There is no process to stop, perhaps only one that would have been started in a moment. */
  #settledAlready(): boolean {
    clearTimeout(this.#backOff);
    if (this.#state === 'waiting') this.#become('stopped');
    return this.#state === 'stopped' || this.#state === 'failed';
  }

  #spawn(): void {
    this.#become('starting');
    const child = fork(this.#program.file, { env: this.#program.env(), stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.#child = child;
    this.#lastLines = [];
    for (const stream of [child.stdout, child.stderr]) eachLine(stream, (line) => this.#printed(line));
    const timer = setTimeout(() => {
      this.#printed(`not ready after ${READY_MS / 1_000} s`);
      child.kill('SIGKILL');
    }, READY_MS);
    const startedAt = performance.now();
    child.on('message', (message: ToSupervisor) => {
      if (message.say === 'ready') {
        clearTimeout(timer);
        this.#url = message.url;
        this.token ??= message.token;
        if (this.#state === 'starting') this.#become('running');
      }
      this.#listener.said(this.name, message);
    });
    child.on('error', (error) => this.#printed(String(error)));
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      this.#ended(performance.now() - startedAt, signal ?? `exit code ${code}`);
    });
  }

  #ended(livedMs: number, how: string): void {
    this.#child = undefined;
    this.#url = undefined;
    if (this.#state === 'stopping') return this.#become('stopped');
    this.#printed(`died unasked (${how})`);
    if (livedMs > HEALTHY_MS) this.#deaths = 0;
    if (++this.#deaths >= DEATHS_MAX) return this.#become('failed');
    this.#become('waiting');
    this.#backOff = setTimeout(
      () => {
        this.#restarts++;
        this.#spawn();
      },
      Math.min(BACK_OFF_MAX_MS, (this.#program.backOffMs ?? BACK_OFF_MS) * 2 ** (this.#deaths - 1)),
    );
  }

  #printed(line: string): void {
    this.#lastLines = [...this.#lastLines, line].slice(-LAST_LINES);
    this.#listener.printed(this.name, line);
  }

  #waiters = new Set<() => void>();

  /** The one place that changes the state. */
  #become(state: ServiceState['state']): void {
    this.#state = state;
    this.#since = new Date();
    this.#listener.changed();
    for (const waiter of [...this.#waiters]) waiter();
  }

  /** Resolves in one of `wanted`; rejects when the process has failed, or was stopped meanwhile by somebody else. */
  async #until(wanted: readonly ServiceState['state'][]): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        const isThere = wanted.includes(this.#state);
        if (!isThere && this.#state !== 'failed' && this.#state !== 'stopped') return;
        this.#waiters.delete(look);
        if (isThere) resolve();
        else reject(new Error(`${this.name} is ${this.#state}`));
      };
      this.#waiters.add(look);
      look();
    });
  }
}

function eachLine(stream: NodeJS.ReadableStream | null, take: (line: string) => void): void {
  let rest = '';
  stream?.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(line);
  });
  stream?.on('end', () => void (rest !== '' && take(rest)));
}
