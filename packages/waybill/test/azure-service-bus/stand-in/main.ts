/** The stand-in as a process: `node main.ts '{"port":5672,"administrationPort":5300,"file":"/tmp/azure.db"}'`. */
import { startStandIn, type StandInOptions } from './index.ts';
import { obey, type Order } from './orders.ts';

const standIn = await startStandIn(JSON.parse(process.argv[2] ?? '{}') as StandInOptions);
const { port, administrationPort, url, connectionString } = standIn;
console.log(JSON.stringify({ port, administrationPort, url, connectionString }));
const stop = (): void => void standIn.close().then(() => process.exit(0));
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
process.on('message', (order) => {
  const deleted = obey(standIn, order as Order);
  if (deleted !== undefined) process.send?.({ deleted });
});
process.on('disconnect', stop); // whoever started it with a channel has gone
