import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onKnex } from './knex.ts';

clientCases(onKnex);
busCases(onKnex);
storeConformance(onKnex);
