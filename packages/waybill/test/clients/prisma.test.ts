import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient, type Prisma } from '../types/prisma/generated/client.ts';
import { clientCases } from './cases.ts';

const close = (prisma: PrismaClient) => prisma.$disconnect();
const sql = (tx: Prisma.TransactionClient, text: string) => tx.$executeRawUnsafe(text);

clientCases({
  name: 'Prisma',
  async open(url, max) {
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max }) });
    return { root: prisma, transaction: (work) => prisma.$transaction(work), sql, close: () => close(prisma) };
  },
});

clientCases({
  name: 'an extended Prisma client',
  async open(url, max) {
    const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max }) });
    const extended = prisma.$extends({
      query: { $allOperations: ({ args, query }) => query(args) },
      model: { product: { async dear() { return 1; } } },
    });
    return { root: extended, transaction: (work) => extended.$transaction(work), sql, close: () => close(prisma) };
  },
});
