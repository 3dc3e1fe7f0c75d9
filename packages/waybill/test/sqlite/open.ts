/** Opens a store as another user would, writes to it, and says the code of what went wrong, or "ok". */
import { sqlite } from '../../src/stores/sqlite/index.ts';
import { testHost } from './support.ts';

const { file, service } = JSON.parse(process.argv[2]!) as { file: string; service: string };
try {
  const store = await sqlite(file).open(testHost(service));
  await store.transaction((tx) => tx.native.query('create table if not exists written (n integer)'));
  await store.close();
  console.log('"ok"');
} catch (error) {
  console.log(JSON.stringify(`${(error as { code?: string }).code}: ${(error as Error).message}`));
}
