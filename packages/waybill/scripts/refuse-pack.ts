/** Runs before `npm pack` in the source folder: what is published is made in `dist`. */
console.error('This folder is the source. Pack what is published: npm run build, then npm pack ./packages/waybill/dist');
process.exit(1);
