/**
 * Who holds a lease: one bus of one process, named so that another process of this machine can tell whether it is still
 * there. A pid alone cannot: it is handed out again, means something else after a reboot, and something else in another
 * container. So an owner is `pid@start/boot/namespace#bus`.
 *
 * It only makes takeover fast. Nothing rests on it: whoever is wrongly thought dead is fenced by the lease's epoch.
 */
import { readFileSync, readlinkSync } from 'node:fs';

let buses = 0;

/** A new owner in this process. Two buses of one process are two owners. */
export function createOwner(): string {
  const here = place();
  return `${process.pid}@${startOf(process.pid) ?? '-'}/${here.boot}/${here.namespace}#${++buses}`;
}

/** False only when the owner's process is certainly gone; what cannot be judged from here counts as alive. */
export function isAlive(owner: string): boolean {
  const parts = /^(\d+)@([^/]+)\/([^/]+)\/([^#]+)#\d+$/.exec(owner);
  if (parts === null) return true;
  const [, pid = '', start = '', boot = '', namespace = ''] = parts;
  const here = place();
  if (boot !== here.boot) return boot === '-' || here.boot === '-'; // the machine was started since
  if (namespace !== here.namespace) return true; // another container's numbers: its expiry decides
  if (start === '-' || here.boot === '-') return answers(Number(pid));
  return startOf(Number(pid)) === start;
}

/** Clock tick at which a running process started; undefined when there is none, or none can be read. */
function startOf(pid: number): string | undefined {
  try {
    // The name may hold spaces and parentheses: fields are counted from the last one (proc_pid_stat(5)).
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined; // killed, and nobody has asked for its exit code yet
    return fields[19];
  } catch {
    return undefined;
  }
}

/** Where there is no /proc. */
function answers(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

let known: { readonly boot: string; readonly namespace: string } | undefined;

/** This boot of this machine, and the space in which its pids are numbers; '-' where the system does not tell. */
function place(): { readonly boot: string; readonly namespace: string } {
  known ??= {
    boot: tell(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()),
    namespace: tell(() => readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')),
  };
  return known;
}

function tell(read: () => string): string {
  try {
    return read() || '-';
  } catch {
    return '-';
  }
}
