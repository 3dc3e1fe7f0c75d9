/** An authority of a test's own, a certificate for localhost, and one for a client. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificates {
  readonly folder: string;
  /** `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`; `other.pem` is an authority that signed nothing here. */
  read(name: string): string;
  close(): void;
}

/** @param client the name that the client's certificate bears */
export function makeCertificates(client = 'basket'): Certificates {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-tls-'));
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  for (const [name, subject] of [['ca', '/CN=Test authority'], ['other', '/CN=Another authority']] as const) {
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '2', '-subj', subject);
  }
  for (const [name, subject] of [['server', '/CN=localhost'], ['client', `/CN=${client}`]] as const) {
    writeFileSync(join(folder, `${name}.ext`), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject);
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`, '-out', `${name}.pem`);
  }
  return { folder, read: (name) => readFileSync(join(folder, name), 'utf8'), close: () => rmSync(folder, { recursive: true, force: true }) };
}
