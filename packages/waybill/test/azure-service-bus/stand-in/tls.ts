/**
 * The stand-in behind TLS, as Azure is reached with a credential: AMQP and the administration on one port, told apart by
 * their first bytes. The certificate is made for the occasion, by openssl; this process takes it for good from then on.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net, { type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import type { StandIn } from './index.ts';

export interface Front {
  /** What a user gives beside a credential. */
  readonly host: string;
  close(): Promise<void>;
}

/** Undefined: there is no openssl here. */
export function makeCertificate(): { key: string; cert: string } | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-azure-'));
  try {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key', '-out', 'cert', '-days', '2', ...subject], { cwd: folder, stdio: 'ignore' });
    return { key: readFileSync(join(folder, 'key'), 'utf8'), cert: readFileSync(join(folder, 'cert'), 'utf8') };
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function behindTls({ port, administrationPort }: StandIn, certificate: { key: string; cert: string }): Promise<Front> {
  tls.setDefaultCACertificates([...tls.getCACertificates(), certificate.cert]);
  const open = new Set<Socket>();
  const server = tls.createServer(certificate, (client) => {
    open.add(client);
    client.on('error', () => {}).on('close', () => open.delete(client));
    client.once('data', (first) => {
      const behind = net.connect(first.subarray(0, 4).toString() === 'AMQP' ? port : administrationPort, '127.0.0.1');
      behind.on('error', () => client.destroy()).on('close', () => client.destroy());
      client.on('close', () => behind.destroy());
      behind.write(first);
      client.pipe(behind).pipe(client);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    host: `localhost:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
