import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onKysely } from './kysely.ts';

clientCases(onKysely);
busCases(onKysely);
storeConformance(onKysely);
