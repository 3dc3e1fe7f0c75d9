import { createApp } from '../service/http.ts';
import { runAlone } from '../service/run.ts';
import { openBooks } from './books.ts';
import { gatewayApp } from './http.ts';

/**
 * The payment gateway, which belongs to somebody else: no bus, no messages, a file of its own. It charges as often as it is
 * asked to, save under a key that it has seen.
 */
const books = openBooks(process.env['GATEWAY_FILE'] || '.waybill-shop/gateway.db');

await runAlone({ name: 'gateway', app: gatewayApp(createApp(), books), close: () => books.close() });
