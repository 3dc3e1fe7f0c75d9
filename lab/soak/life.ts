/** What all programs of a soak do beside their work: say what happens, insist while a server is away, stop when told to. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Bus, type Logger, WaybillError } from 'waybill';
import { createRecorder, type Line } from '../torture/history.ts';
import type { Role } from './role.ts';

export type Recorder = (line: Omit<Line, 't' | 'by'>) => void;

export const role = JSON.parse(process.argv[2]!) as Role;
export const record: Recorder = createRecorder(role.by);
export const chance = (share: number): boolean => Math.random() < share;
export const logger: Logger = { debug() {}, info() {}, warn() {}, error: (details, text) => record({ what: 'trouble', text: `${text} ${JSON.stringify(details)}`.slice(0, 400) }) };

const passing = ['STORE_UNREACHABLE', 'STORE_BUSY', 'TRANSPORT_UNREACHABLE', 'COMMIT_UNKNOWN'];

/** Starts; then `work` again and again, until SIGTERM. */
export async function live(bus: Bus<any>, work: () => Promise<void> = () => sleep(100)): Promise<void> {
  process.on('disconnect', () => process.exit()); // whoever looks after it has gone
  let running = true;
  process.on('SIGTERM', () => {
    running = false;
    void bus.stop().then(() => process.exit(0));
  });
  for (let started = false; !started && running; ) {
    try {
      await bus.start();
      started = true;
    } catch (error) {
      if (!WaybillError.is(error) || !passing.includes(error.code)) throw error;
      await sleep(200); // a server may be away just now
    }
  }
  record({ what: 'working' });
  process.send?.('working');
  while (running) await work();
}
