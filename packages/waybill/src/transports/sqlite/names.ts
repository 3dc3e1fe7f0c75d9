/** What the files of a directory are called. The names are the directory's format: they never change. */
import { join } from 'node:path';

/** A service as a file name: lower case, so that no two fall together where a file system ignores case. */
const servicePattern = /^[a-z][a-z0-9-]{0,62}$/;
const ledgerPattern = /^([a-z][a-z0-9-]{0,62})\.db$/;
/** What SQLite and the store put beside a ledger. */
const besidePattern = /\.db-(?:wal|shm|journal|turn)$/;

export function isServiceName(name: string): boolean {
  return servicePattern.test(name);
}

export function ledgerFile(directory: string, service: string): string {
  return join(directory, `${service}.db`);
}

/** The service whose ledger a file would be by its name. */
export function serviceOfFile(file: string): string | undefined {
  return ledgerPattern.exec(file)?.[1];
}

/** A file that looks like a database, yet can be no ledger by its name: worth a word. */
export function isStray(file: string): boolean {
  return file.endsWith('.db') && !ledgerPattern.test(file) && !besidePattern.test(file);
}

/** Holds one file per service; a byte written there says that its ledger has grown. */
export function wakeFolder(directory: string): string {
  return join(directory, 'wake');
}

/** Holds one file per instance that waits for replies, called after its address. */
export function repliesFolder(directory: string): string {
  return join(directory, 'replies');
}

/** Where the reply to a request goes: to one instance. `~` is in no service's name. */
export function replyAddress(service: string, instance: string): string {
  return `${service}~${instance}`;
}

/** Addresses come in with messages: nothing else may become a file's name. */
export function isReplyAddress(address: string): boolean {
  return /^[a-z][a-z0-9-]{0,62}~[a-z0-9-]{1,64}$/.test(address);
}

/** The service behind a recipient: itself, or that of a reply address. */
export function serviceOfRecipient(recipient: string): string {
  const end = recipient.indexOf('~');
  return end < 0 ? recipient : recipient.slice(0, end);
}
