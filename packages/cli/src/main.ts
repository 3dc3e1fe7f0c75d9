#!/usr/bin/env node
import { Console } from 'node:console';
import { run } from './program.ts';

// What the service's own module prints is no data of ours: the pipe behind stdout gets that alone.
globalThis.console = new Console({ stdout: process.stderr, stderr: process.stderr });

const code = await run(process.argv.slice(2), { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr });

// The service's module may keep what it opened on import (a pool, say): nobody here waits for that.
await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write('', resolve))));
process.exit(code);
