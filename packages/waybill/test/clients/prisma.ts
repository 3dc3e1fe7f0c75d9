import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient, type Prisma } from '../types/prisma/generated/client.ts';
import type { Library } from './library.ts';

const rows = (tx: Prisma.TransactionClient, text: string, values: readonly unknown[] = []) => tx.$queryRawUnsafe<object[]>(text, ...values);

export const onPrisma: Library = {
  name: 'Prisma',
  async open(url, max) {
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max }) });
    return { root: prisma, transaction: (work) => prisma.$transaction(work), rows, close: () => prisma.$disconnect() };
  },
};

export const onExtendedPrisma: Library = {
  name: 'an extended Prisma client',
  async open(url, max) {
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max }) });
    const extended = prisma.$extends({
      query: { $allOperations: ({ args, query }) => query(args) },
      model: { product: { async dear() { return 1; } } },
    });
    return { root: extended, transaction: (work) => extended.$transaction(work), rows, close: () => prisma.$disconnect() };
  },
};
