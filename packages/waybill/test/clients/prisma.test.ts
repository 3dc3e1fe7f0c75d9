import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onPrisma, onExtendedPrisma } from './prisma.ts';

clientCases(onPrisma);
busCases(onPrisma);
storeConformance(onPrisma);
clientCases(onExtendedPrisma);
busCases(onExtendedPrisma);
storeConformance(onExtendedPrisma);
