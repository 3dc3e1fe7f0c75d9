/** The words of the command line: nouns, verbs and flags, each flag with its twin in the environment. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError, Option } from 'commander';
import { loadBus } from './app.ts';
import { exit, exitOf, textOf, UsageError } from './exit.ts';
import { formats, type OutputFormat } from './output.ts';
import { apply, plan, type TopologyOptions } from './topology.ts';

export interface Streams {
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

/** Flags that are set or not; as variables, these values say no. */
const variablesOfFlags = ['WAYBILL_OFFLINE', 'WAYBILL_DRY_RUN', 'WAYBILL_YES'] as const;
const noes: ReadonlySet<string | undefined> = new Set(['', '0', 'false', 'no']);

/** Runs one command. Data goes to stdout, everything for people to stderr. @returns the exit code */
export async function run(args: readonly string[], streams: Streams): Promise<number> {
  for (const name of variablesOfFlags) if (noes.has(process.env[name])) delete process.env[name]; // commander asks only whether it is there
  let code: number = exit.done;
  const program = programOf(streams, (ended) => (code = ended));
  try {
    await program.parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exit.done : exit.usage; // it has said so itself
    streams.stderr.write(`waybill: ${textOf(error)}\n`);
    return exitOf(error);
  }
}

function programOf(streams: Streams, ended: (code: number) => void): Command {
  const program = new Command('waybill')
    .description('Waybill, the service bus for TypeScript')
    .version(version())
    .exitOverride()
    .configureOutput({ writeOut: (text) => streams.stdout.write(text), writeErr: (text) => streams.stderr.write(text) });

  const topology = program.command('topology').description('what stands at the broker for a service');
  const verb = (name: string, description: string, does: typeof plan): Command => {
    const command = topology.command(name, { isDefault: name === 'plan' }).description(description);
    return withCommonFlags(command).action(async (options: Flags) => ended(await does({ ...options, load: () => loadBus(appOf(options)), streams } satisfies TopologyOptions)));
  };
  verb('plan', 'compare what the service needs with what is there; creates nothing; exit code 3 when they differ', plan).addOption(
    new Option('--offline', 'only what the service needs: nobody is asked').env('WAYBILL_OFFLINE'),
  );
  verb('apply', 'create what is missing; safe to repeat', apply)
    .addOption(new Option('--dry-run', 'the same as plan').env('WAYBILL_DRY_RUN'))
    .addOption(new Option('-y, --yes', 'do not ask').env('WAYBILL_YES'));
  return program;
}

interface Flags {
  readonly app?: string;
  readonly output: OutputFormat;
  readonly offline?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function withCommonFlags(command: Command): Command {
  return command
    .addOption(new Option('--app <file>', 'the module that exports the bus, not started: ./src/bus.ts, or ./src/bus.ts#name').env('WAYBILL_APP'))
    .addOption(new Option('-o, --output <format>', 'the form of the data').choices(formats).default('table').env('WAYBILL_OUTPUT'));
}

function appOf({ app }: Flags): string {
  if (app !== undefined && app !== '') return app;
  throw new UsageError('name the module that exports the bus: --app ./src/bus.ts, or WAYBILL_APP');
}

function version(): string {
  const file = fileURLToPath(import.meta.resolve('@waybill/cli/package.json'));
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
