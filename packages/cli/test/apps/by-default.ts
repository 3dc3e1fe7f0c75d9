import { make } from './orders.ts';

console.log('the module of the service says something'); // and is no data of the command's
setInterval(() => {}, 60_000); // as a pool that it opened: keeps a process that waits for it

export default make();
