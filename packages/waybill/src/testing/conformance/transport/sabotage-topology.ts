import { broken, type TransportSabotage } from './broken.ts';
import { to } from './world.ts';

const planned = 'what it plans is what stands once it was declared, and nothing else does';
const nothing = 'looking creates nothing, and sees that nothing is there';
const declared = 'looking sees what was declared, and what of another subscription is missing';

export const topologySabotages: readonly TransportSabotage[] = [
  broken('does not tell of all that it makes', planned, () => ({
    topology: (honest) => ({ entities: (service, declarations) => honest.entities(service, declarations).slice(0, -1) }),
  })),
  broken('tells of more than it makes', planned, () => ({
    topology: (honest) => ({ entities: (service, declarations) => honest.entities(service, [...declarations, to('basket.nobody')]) }),
  })),
  broken('makes what it is asked to look at', nothing, () => ({
    topology: (honest, world) => ({
      async look(service, entities) {
        const seen = await honest.look(service, entities);
        await (await world.start(service)).session.declare(to('basket.prices'));
        return seen;
      },
    }),
  })),
  broken('takes what it has not seen for there', nothing, () => ({
    topology: () => ({ look: async (_service, entities) => entities.map(() => ({ state: 'there' })) }),
  })),
  broken('sees nothing', declared, () => ({
    topology: () => ({ look: async (_service, entities) => entities.map(() => ({ state: 'missing' })) }),
  })),
  broken('cannot say whether anything is there', declared, () => ({
    topology: () => ({ look: async (_service, entities) => entities.map(() => ({ state: 'unseen', detail: 'it is dark' })) }),
  })),
];
