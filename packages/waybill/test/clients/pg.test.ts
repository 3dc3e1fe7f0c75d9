import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onPg } from './pg.ts';

clientCases(onPg);
busCases(onPg);
storeConformance(onPg);
