/** A host name and a `TokenCredential`, as `@azure/identity` makes them, over TLS: tokens are shown, checked, and shown again in time. */
import './long-timers.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { createBus } from 'waybill';
import { azureServiceBus } from 'waybill/transports/azure-service-bus';
import { Priced } from '../support/contracts.ts';
import { startStandIn, type StandIn } from './stand-in/index.ts';
import { behindTls, type Front, makeCertificate } from './stand-in/tls.ts';
import { until } from './until.ts';
import { basketOn, check, publishPrices, quiet } from './whole-bus.ts';

const size = { keys: 5, revisions: 4 };
const total = size.keys * size.revisions * 2;
const scope = 'https://servicebus.azure.net//.default';
/** The SDK shows the next token so long before the last one ends. */
const earlyMs = 120_000;

const certificate = makeCertificate();

/** What the token says is what the stand-in goes by: a name, and until when it is good. */
class FakeCredential {
  readonly #name: string;
  readonly #goodMs: number;
  readonly #saysMs: number;
  asked = 0;

  /** @param saysMs how long it says that its tokens are good */
  constructor(name: string, goodMs: number, saysMs: number) {
    this.#name = name;
    this.#goodMs = goodMs;
    this.#saysMs = saysMs;
  }

  async getToken(scopes: string | string[]): Promise<{ token: string; expiresOnTimestamp: number }> {
    assert.equal(String(scopes), scope);
    this.asked++;
    return { token: `${this.#name}.${Date.now() + this.#goodMs}`, expiresOnTimestamp: Date.now() + this.#saysMs };
  }
}

describe('Azure Service Bus by a credential', { skip: certificate === undefined && 'there is no openssl to make a certificate with', concurrency: false }, () => {
  let standIn: StandIn;
  let front: Front;
  const types = new Set<string>();
  /** How often, by what for. */
  const shown = new Map<string, number>();

  before(async () => {
    standIn = await startStandIn({
      checkToken({ type, token, path }) {
        shown.set(path, (shown.get(path) ?? 0) + 1);
        const [name, until] = token.split('.') as [string, string];
        types.add(type);
        return name === 'stranger' ? undefined : Number(until);
      },
    });
    front = await behindTls(standIn, certificate!);
  });
  after(async () => {
    await front.close();
    await standIn.close();
  });

  const busAs = (t: TestContext, service: string, credential: FakeCredential, prefix: string) => {
    const bus = createBus({ service, store: 'sqlite::memory:', transport: azureServiceBus(front.host, { credential, prefix, lockMs: 5_000, timeoutMs: 1_000 }), logger: quiet });
    t.after(() => bus.stop({ drainMs: 0 }));
    return bus;
  };

  it('makes what it needs, sends and receives, and shows tokens again before they end', async (t) => {
    const [sender, receiver] = [new FakeCredential('renewed', 3_600_000, earlyMs + 200), new FakeCredential('renewed', 3_600_000, earlyMs + 200)];
    const [catalog, basket] = [busAs(t, 'catalog', sender, 'renewed'), busAs(t, 'basket', receiver, 'renewed')];
    let detached = 0;
    standIn.faults.expired = () => void detached++;
    const { effects, settled } = await basketOn(basket);
    await catalog.start();
    await publishPrices(catalog, size);
    await settled(total);
    check(await effects(), size);
    const [links, any] = ['renewed/events', 'renewed/events/subscriptions/basket.any'];
    await until(() => Math.min(shown.get(links) ?? 0, shown.get(any) ?? 0) > 5); // each was opened once
    assert.equal(detached, 0);
    assert.deepEqual([...types], ['jwt']);
  });

  it('comes back when tokens end all the same', async (t) => {
    const [sender, receiver] = [new FakeCredential('short', 2_000, 3_600_000), new FakeCredential('short', 2_000, 3_600_000)];
    const [catalog, basket] = [busAs(t, 'catalog', sender, 'short'), busAs(t, 'basket', receiver, 'short')];
    let detached = 0;
    standIn.faults.expired = () => void detached++;
    const { effects, settled } = await basketOn(basket);
    await catalog.start();
    await until(() => detached > 0);
    await publishPrices(catalog, size);
    await settled(total);
    check(await effects(), size);
  });

  it('does with what is there where it may not manage', async (t) => {
    const all = new FakeCredential('few rights', 3_600_000, 3_600_000);
    const first = busAs(t, 'basket', all, 'rights');
    await basketOn(first, ['any']);
    await first.stop();
    standIn.deny(true);
    t.after(() => standIn.deny(false));
    const [catalog, basket] = [busAs(t, 'catalog', all, 'rights'), busAs(t, 'basket', all, 'rights')];
    const { effects, settled } = await basketOn(basket, ['any']);
    await catalog.start();
    await publishPrices(catalog, { keys: 1, revisions: 1 });
    await settled(1);
    check(await effects(), { keys: 1, revisions: 1 }, ['any']);
  });

  it('says that it is not let in', async (t) => {
    const bus = busAs(t, 'basket', new FakeCredential('stranger', 60_000, 3_600_000), 'strange');
    standIn.deny(true);
    t.after(() => standIn.deny(false));
    bus.subscribe(Priced, async () => {});
    await assert.rejects(bus.start(), { code: 'TRANSPORT_DENIED' });
  });
});
