/** The processes of a torture run: started, started again when they end, and listened to. */
import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Line, monotonicMs, parseLines } from './history.ts';
import { skewVariable } from './role.ts';

const preload = join(import.meta.dirname, 'skew.ts');
/** What a process said on stderr that is kept. */
const stderrMax = 2_000;

/** @typeParam Role what a process is told, as JSON in argv, with its name as `by` */
export interface Processes<Role extends object> {
  /** Everything that was said, in the order in which it came. */
  readonly history: Line[];
  readonly names: readonly string[];
  /** Those that have come as far as working. */
  readonly working: readonly string[];
  say(line: Omit<Line, 't' | 'by'>): void;
  /** False when it is not running. */
  signal(name: string, signal: NodeJS.Signals): boolean;
  start(name: string, role: Role): void;
  /** Resolves when all have ended; nobody is started again. */
  killAll(): Promise<void>;
  /** Whoever of these ends stays dead until they are released. */
  hold(names: readonly string[]): void;
  release(names: readonly string[]): void;
  /** SIGKILL; resolves when it has ended. */
  kill(name: string): Promise<void>;
  /** Something to do, over its channel; false when it is not running. */
  tell(name: string, what: string): boolean;
  /** How far the clock of whoever starts from now on is off. */
  skewMs: () => number;
}

export interface ProcessesOptions<Role> {
  /** The history goes there, as JSON lines. */
  readonly file: string;
  /** In [0, 1). */
  readonly random: () => number;
  readonly programOf: (role: Role) => string;
}

export function createProcesses<Role extends object>({ file, random, programOf }: ProcessesOptions<Role>): Processes<Role> {
  const history: Line[] = [];
  const roles = new Map<string, Role>();
  const running = new Map<string, ChildProcess>();
  const working = new Set<string>();
  const incarnations = new Map<string, number>();
  let restarting = true;
  const held = new Set<string>();

  const keep = (lines: readonly Line[]): void => {
    if (lines.length === 0) return;
    history.push(...lines);
    appendFileSync(file, `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
  };
  const launch = (name: string): void => {
    const incarnation = (incarnations.get(name) ?? 0) + 1;
    incarnations.set(name, incarnation);
    const by = `${name}#${incarnation}`;
    const skewMs = self.skewMs();
    const env = { ...process.env, [skewVariable]: `${skewMs}` };
    const role = roles.get(name)!;
    const child = spawn(process.execPath, ['--import', preload, programOf(role), JSON.stringify({ ...role, by })], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    running.set(name, child);
    if (skewMs !== 0) keep([{ t: monotonicMs(), by: 'nemesis', what: 'fault', text: `clock of ${by} off by ${skewMs} ms` }]);
    child.once('message', () => running.get(name) === child && working.add(name));
    let rest = '';
    child.stdout!.on('data', (data: Buffer) => {
      const text = rest + data.toString();
      const end = text.lastIndexOf('\n') + 1;
      rest = text.slice(end);
      keep(parseLines(text.slice(0, end)));
    });
    let stderr = '';
    child.stderr!.on('data', (data: Buffer) => (stderr = (stderr + data.toString()).slice(0, stderrMax)));
    child.on('close', (code, signal) => {
      if (running.get(name) === child) running.delete(name);
      working.delete(name);
      keep([{ t: monotonicMs(), by, what: 'ended', text: `${signal ?? code}${code === null || code === 0 ? '' : `: ${stderr}`}` }]);
      setTimeout(() => revive(name), 20 + random() * 150);
    });
  };

  const revive = (name: string): void => {
    if (restarting && !held.has(name) && !running.has(name) && roles.has(name)) launch(name);
  };

  const kill = async (child: ChildProcess): Promise<void> => {
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await ended;
  };

  const self: Processes<Role> = {
    history,
    skewMs: () => 0,
    get names() {
      return [...roles.keys()];
    },
    get working() {
      return [...working];
    },
    say: (line) => keep([{ t: monotonicMs(), by: 'nemesis', ...line }]),
    signal: (name, signal) => running.get(name)?.kill(signal) ?? false,
    start(name, role) {
      restarting = true;
      roles.set(name, role);
      launch(name);
    },
    async killAll() {
      restarting = false;
      roles.clear();
      held.clear();
      await Promise.all([...running.values()].map(kill));
    },
    hold(names) {
      for (const name of names) held.add(name);
    },
    release(names) {
      for (const name of names) held.delete(name);
      for (const name of names) revive(name);
    },
    async kill(name) {
      const child = running.get(name);
      if (child) await kill(child);
    },
    tell: (name, what) => running.get(name)?.send(what) ?? false,
  };
  return self;
}
