import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onDrizzlePg, onDrizzlePostgresJs } from './drizzle.ts';

clientCases(onDrizzlePg);
busCases(onDrizzlePg);
storeConformance(onDrizzlePg);
clientCases(onDrizzlePostgresJs);
busCases(onDrizzlePostgresJs);
storeConformance(onDrizzlePostgresJs);
