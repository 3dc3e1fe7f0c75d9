/** The PostgreSQL store by URL; with a client's library see `clients.ts`. */
import { createBus, type Bus, type SqlTransaction } from 'waybill';
import { postgres, type PostgresOptions } from 'waybill/stores/postgres';
import { same } from './equal.ts';

type TxOf<B> = B extends Bus<infer Tx> ? Tx : never;
const options: PostgresOptions = { schema: 'basket' };
const bus = createBus({ service: 'basket', store: postgres('postgres://localhost/basket', options) });
same<TxOf<typeof bus>, SqlTransaction>(true);

// @ts-expect-error no client of a supported library
postgres({ query: () => Promise.resolve() });
// @ts-expect-error an unknown option
postgres('postgres://localhost', { schemas: 'basket' });
