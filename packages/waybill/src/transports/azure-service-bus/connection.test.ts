import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { WaybillError } from '../../contract/errors.ts';
import { readConnection } from './connection.ts';
import { azureServiceBus } from './index.ts';

describe('connections to Azure Service Bus', () => {
  it('are read from a connection string, as it is', () => {
    const text = 'Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=a+b/c=';
    assert.equal(readConnection(text, undefined).target, text);
  });

  it('are read from a URL, with prefix and emulator', () => {
    const read = readConnection('sb://Root:a%2Bb%3D@localhost:5672/shop?emulator=true&administrationPort=5300&lockMs=5000&timeoutMs=700', undefined);
    assert.deepEqual(read, {
      target: 'Endpoint=sb://localhost:5672;SharedAccessKeyName=Root;SharedAccessKey=a+b=;UseDevelopmentEmulator=true;',
      credential: undefined,
      prefix: 'shop',
      administrationPort: 5300,
      lockMs: 5_000,
      timeoutMs: 700,
    });
  });

  it('are a host name beside a credential', () => {
    const credential = { getToken: async () => null };
    for (const given of ['shop.servicebus.windows.net', 'sb://shop.servicebus.windows.net/shop']) {
      const { target, credential: kept } = readConnection(given, credential);
      assert.deepEqual([target, kept], ['shop.servicebus.windows.net', credential]);
    }
  });

  it('are refused without repeating what may be secret', () => {
    for (const given of ['', 'secret', 'sb://', 'sb://secret@host', 'amqp://a:secret@host', 'sb://:secret@host', 'secret.host']) {
      assert.throws(() => azureServiceBus(given), (error) => WaybillError.is(error, 'INVALID_URL') && !String(error).includes('secret'), given);
    }
  });

  it('have options within bounds', () => {
    const connection = 'sb://Root:key@host';
    for (const options of [{ lockMs: 1_000 }, { lockMs: 30_500 }, { lockMs: 400_000 }, { prefix: '' }, { prefix: 'Shop' }, { prefix: 'a/b' }]) {
      assert.throws(() => azureServiceBus(connection, options), (error) => WaybillError.is(error, 'INVALID_OPTION'), JSON.stringify(options));
    }
  });
});
