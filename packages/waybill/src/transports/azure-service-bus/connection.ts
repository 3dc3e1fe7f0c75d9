/** From a connection string, a URL or a host name to the SDK's clients, which the user brings and which are loaded here. */
import type * as Sdk from '@azure/service-bus';
import { WaybillError } from '../../contract/errors.ts';
import type { AzureAdministration, AzureClient } from './client.ts';
import type { Make } from './session.ts';

export interface Connection {
  /** Azure's connection string, or the namespace's host name with a credential. */
  readonly target: string;
  readonly credential: unknown;
  readonly prefix: string | undefined;
  /** A local emulator's administration: http on this port. */
  readonly administrationPort: number | undefined;
  readonly lockMs?: number;
  readonly timeoutMs?: number;
}

/** Within the SDK, before an error is ours to handle. */
const retryOptions = { maxRetries: 2, retryDelayInMs: 200, maxRetryDelayInMs: 2_000 };

/** An accept of a session that nobody needs any more cannot be taken back: stopping waits for it, so it must not be long. */
const acceptMs = 1_500;

/**
 * `Endpoint=sb://…` as Azure's portal gives it, `sb://KEYNAME:KEY@HOST[:PORT][/PREFIX][?lockMs=…&timeoutMs=…]`, or a host name beside a credential.
 * @throws WaybillError `INVALID_URL`; it repeats nothing, as all of it may be secret
 */
export function readConnection(given: string, credential: unknown): Connection {
  if (/^endpoint=sb:\/\//i.test(given)) return { target: given, credential: undefined, prefix: undefined, administrationPort: undefined };
  if (credential !== undefined && /^[a-z0-9.-]+(:\d+)?$/i.test(given)) return { target: given, credential, prefix: undefined, administrationPort: undefined };
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url?.protocol !== 'sb:' || url.host === '') throw invalid('write sb://KEYNAME:KEY@NAMESPACE.servicebus.windows.net, or the connection string as Azure gives it');
  const prefix = decodeURIComponent(url.pathname).replace(/^\/|\/$/g, '') || undefined;
  const port = url.searchParams.get('administrationPort');
  const administrationPort = port === null ? undefined : Number(port);
  const lock = url.searchParams.get('lockMs');
  const timeout = url.searchParams.get('timeoutMs');
  const times = { ...(lock !== null && { lockMs: Number(lock) }), ...(timeout !== null && { timeoutMs: Number(timeout) }) };
  const rest = { prefix, administrationPort, ...times };
  if (credential !== undefined) return { target: url.host, credential, ...rest };
  const [name, key] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  if (name === '' || key === '') throw invalid('the URL has no key name and key; write sb://KEYNAME:KEY@HOST, or pass a `credential` to azureServiceBus()');
  const emulator = url.searchParams.get('emulator') === 'true' ? 'UseDevelopmentEmulator=true;' : '';
  return { target: `Endpoint=sb://${url.host};SharedAccessKeyName=${name};SharedAccessKey=${key};${emulator}`, credential: undefined, ...rest };
}

function invalid(why: string): WaybillError {
  return new WaybillError('INVALID_URL', `Azure Service Bus: ${why}`);
}

export interface Connected {
  readonly client: AzureClient;
  readonly make: Make;
  readonly administration: AzureAdministration;
}

/** @throws WaybillError `DRIVER_MISSING`, `INVALID_URL` */
export async function connect({ target, credential, administrationPort }: Connection, timeoutMs: number): Promise<Connected> {
  const { ServiceBusClient, ServiceBusAdministrationClient } = await loadSdk();
  const token = credential as never;
  const clientWith = (timeoutInMs: number): AzureClient => {
    const options = { retryOptions: { ...retryOptions, timeoutInMs } };
    return credential === undefined ? new ServiceBusClient(target, options) : new ServiceBusClient(target, token, options);
  };
  try {
    const administration = credential === undefined ? new ServiceBusAdministrationClient(target) : new ServiceBusAdministrationClient(target, token);
    if (administrationPort !== undefined) redirect(administration as unknown as WithPipeline, administrationPort);
    const accept = Math.min(acceptMs, timeoutMs);
    const make: Make = {
      client: () => clientWith(timeoutMs),
      acceptor: () => clientWith(accept),
      acceptMaxMs: (accept + retryOptions.retryDelayInMs) * (retryOptions.maxRetries + 1) + timeoutMs,
    };
    return { client: make.client(), make, administration };
  } catch (cause) {
    throw new WaybillError('INVALID_URL', 'Azure Service Bus: the SDK does not take this connection string; copy it from the portal anew', { cause });
  }
}

async function loadSdk(): Promise<typeof Sdk> {
  try {
    return await import('@azure/service-bus');
  } catch (cause) {
    throw new WaybillError('DRIVER_MISSING', 'Azure Service Bus needs its SDK: npm install @azure/service-bus', { cause });
  }
}

interface WithPipeline {
  readonly pipeline: { addPolicy(policy: { name: string; sendRequest(request: PipelineRequest, next: (request: PipelineRequest) => Promise<any>): Promise<any> }): void };
}

interface PipelineRequest {
  url: string;
  allowInsecureConnection?: boolean;
}

/** An emulator administers itself over plain http on a port of its own; the SDK has https and the namespace's port built in. */
function redirect({ pipeline }: WithPipeline, port: number): void {
  pipeline.addPolicy({
    name: 'to the emulator',
    sendRequest(request, next) {
      const url = new URL(request.url.replace(/^https:/, 'http:'));
      url.port = String(port);
      request.url = url.toString();
      request.allowInsecureConnection = true;
      return next(request);
    },
  });
}
