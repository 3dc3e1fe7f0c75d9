import type { Library } from './library.ts';

/** A publisher loads the one that it uses. */
const libraries = {
  pg: async () => (await import('./pg.ts')).onPg,
  'postgres.js': async () => (await import('./postgres-js.ts')).onPostgresJs,
  Kysely: async () => (await import('./kysely.ts')).onKysely,
  Drizzle: async () => (await import('./drizzle.ts')).onDrizzle,
  Prisma: async () => (await import('./prisma.ts')).onPrisma,
  TypeORM: async () => (await import('./typeorm.ts')).onTypeorm,
  Knex: async () => (await import('./knex.ts')).onKnex,
} satisfies Record<string, () => Promise<(url: string) => Promise<Library<any>>>>;

export type LibraryName = keyof typeof libraries;
export const libraryNames = Object.keys(libraries) as readonly LibraryName[];

export async function openLibrary(name: LibraryName, url: string): Promise<Library<any>> {
  return (await libraries[name]())(url);
}
