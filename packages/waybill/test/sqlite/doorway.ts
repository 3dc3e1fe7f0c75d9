/** Stands in the doorway of a file and says so; then it is frozen from outside. */
import { DatabaseSync } from 'node:sqlite';

const { file } = JSON.parse(process.argv[2]!) as { file: string };
const door = new DatabaseSync(`${file}-turn`);
door.exec('begin immediate');
console.log('"inside"');
setInterval(() => {}, 1_000);
