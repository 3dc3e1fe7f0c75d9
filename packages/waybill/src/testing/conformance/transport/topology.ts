import assert from 'node:assert/strict';
import type { Entity } from '../../../contract/topology.ts';
import { can, to, type TransportCase } from './world.ts';

const all = [
  to('basket.prices', { bindings: [{ type: 'catalog.price-changed.v1', kind: 'event' }, { type: 'catalog.removed.v1', kind: 'event' }] }),
  to('basket.ordered', { order: 'by-key' }),
  to('basket.clear', { bindings: [{ type: 'basket.clear.v1', kind: 'command' }] }),
];
const others = [to('basket.others')];

const ids = (entities: readonly Entity[]): string[] => entities.map(({ kind, name }) => `${kind} ${name}`);

/** What a driver says that it makes, what it makes, and what it sees. */
export const topologyCases: readonly TransportCase[] = [
  {
    name: 'what it plans is what stands once it was declared, and nothing else does',
    needs: ['topology'],
    async run(world) {
      const { entities, standing } = can(world.topology);
      const planned = ids(entities('basket', all));
      assert.deepEqual(planned, [...new Set(planned)], 'each once');
      const peer = await world.start('basket');
      for (const declaration of [...all, ...all]) await peer.session.declare(declaration);
      assert.deepEqual((await standing()).toSorted(), planned.toSorted());
    },
  },
  {
    name: 'looking creates nothing, and sees that nothing is there',
    needs: ['topology'],
    async run(world) {
      const { entities, look, standing } = can(world.topology);
      const planned = entities('basket', all);
      for (const _ of ['once', 'and again']) {
        const seen = await look('basket', planned);
        assert.equal(seen.length, planned.length);
        assert.deepEqual(seen.filter(({ state }) => state !== 'missing' && state !== 'unseen'), []);
        assert.ok(seen.some(({ state }) => state === 'missing'));
      }
      assert.deepEqual(await standing(), []);
    },
  },
  {
    name: 'looking sees what was declared, and what of another subscription is missing',
    needs: ['topology'],
    async run(world) {
      const { entities, look } = can(world.topology);
      const peer = await world.start('basket');
      for (const declaration of all) await peer.session.declare(declaration);
      const planned = entities('basket', all);
      const seen = await look('basket', planned);
      const wrong = planned.flatMap(({ kind, name }, at) => (seen[at]!.state === 'there' || seen[at]!.state === 'unseen' ? [] : [{ kind, name, ...seen[at] }]));
      assert.deepEqual(wrong, []);
      planned.forEach(({ name, received }, at) => assert.ok(!received || seen[at]!.state === 'there', name)); // a queue can always be asked about
      const missing = entities('basket', others).filter(({ subscription }) => subscription !== undefined);
      for (const { state } of await look('basket', missing)) assert.ok(state === 'missing' || state === 'unseen', state);
    },
  },
];
