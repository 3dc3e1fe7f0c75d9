/** From this folder, so that the peers' own dependencies (an old amqplib, another pg) are found by nobody else. */
export const load = (name: string): Promise<any> => import(name);
