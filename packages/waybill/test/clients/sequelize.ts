import { QueryTypes, Sequelize, type Transaction } from 'sequelize';
import type { Library } from './library.ts';

export const onSequelize: Library = {
  name: 'Sequelize',
  async open(url, max) {
    const sequelize = new Sequelize(url, { dialect: 'postgres', logging: false, pool: { min: 0, max, acquire: 10_000 } });
    return {
      root: sequelize,
      transaction: (work) => sequelize.transaction(work),
      rows: async (transaction: Transaction, text, values = []) =>
        (await sequelize.query(text, { transaction, type: QueryTypes.SELECT, ...(values.length > 0 && { bind: [...values] }) })) ?? [],
      close: () => sequelize.close(),
    };
  },
};
