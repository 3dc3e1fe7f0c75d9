import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onTypeorm } from './typeorm.ts';

clientCases(onTypeorm);
busCases(onTypeorm);
storeConformance(onTypeorm);
