import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onSequelize } from './sequelize.ts';

clientCases(onSequelize);
busCases(onSequelize);
storeConformance(onSequelize);
