import { Advice, dataPath, removeDataFolder } from './supervisor/data-folder.ts';
import { leftOnServers } from './supervisor/servers.ts';

/** `npm run shop:reset`: the shop begins anew. Removes nothing that the shop did not make. */
try {
  console.log(removeDataFolder(dataPath(process.env)) + leftOnServers(process.env));
} catch (error) {
  if (!(error instanceof Advice)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
