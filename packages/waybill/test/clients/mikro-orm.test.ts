import { busCases } from './bus-cases.ts';
import { clientCases } from './cases.ts';
import { storeConformance } from './conformance.ts';
import { onMikroOrm } from './mikro-orm.ts';

clientCases(onMikroOrm);
busCases(onMikroOrm);
storeConformance(onMikroOrm);
