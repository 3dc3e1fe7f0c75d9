import { PrismaPg } from '@prisma/adapter-pg';
import { postgres } from 'waybill/stores/postgres';
import { type Prisma, PrismaClient } from '../../../packages/waybill/test/types/prisma/generated/client.ts';
import { connectionsMax, connectMs, type Library } from './library.ts';

export async function onPrisma(url: string): Promise<Library<Prisma.TransactionClient>> {
  const adapter = new PrismaPg({ connectionString: url, max: connectionsMax, connectionTimeoutMillis: connectMs });
  const prisma = new PrismaClient({ adapter, transactionOptions: { maxWait: connectMs, timeout: 30_000 } });
  return {
    store: postgres(prisma),
    transaction: (work) => prisma.$transaction(work),
    async move(tx, account, amount) {
      const [row] = await tx.$queryRaw<{ version: number }[]>`update account set version = version + 1, balance = balance + ${amount}::int where id = ${account} returning version`;
      return row!.version;
    },
  };
}
