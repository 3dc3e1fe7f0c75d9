import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onPostgresJs } from './postgres-js.ts';

clientCases(onPostgresJs);
busCases(onPostgresJs);
storeConformance(onPostgresJs);
