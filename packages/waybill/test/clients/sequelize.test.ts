import { Sequelize, type Transaction } from 'sequelize';
import { clientCases } from './cases.ts';

clientCases({
  name: 'Sequelize',
  async open(url, max) {
    const sequelize = new Sequelize(url, { dialect: 'postgres', logging: false, pool: { min: 0, max, acquire: 2_000 } });
    return {
      root: sequelize,
      transaction: (work) => sequelize.transaction(work),
      sql: (transaction: Transaction, text) => sequelize.query(text, { transaction }),
      close: () => sequelize.close(),
    };
  },
});
