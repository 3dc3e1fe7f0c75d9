import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isConnectionLost, sqlStateOf } from './sql-state.ts';

const error = (text: string, of: object = {}) => Object.assign(new Error(text), of);

describe('the SQLSTATE of an error', () => {
  it('is found in whatever the libraries wrap around it', () => {
    const server = error('deadlock detected', { code: '40P01' });
    for (const wrapped of [
      server,
      error('Failed query', { cause: server }), // Drizzle, MikroORM
      error('QueryFailedError', { driverError: server }), // TypeORM
      error('SequelizeDatabaseError', { parent: server, original: server }),
      error('Raw query failed', { code: 'P2010', clientVersion: '7.10.0', meta: { driverAdapterError: error('x', { cause: { originalCode: '40P01', kind: 'postgres', code: 'other' } }) } }),
      error('in a handler', { cause: error('around it', { cause: server }) }),
    ]) assert.equal(sqlStateOf(wrapped), '40P01', wrapped.message);
  });

  it('is that of a serialization failure where Prisma says only that there was a conflict', () => {
    assert.equal(sqlStateOf(error('write conflict', { code: 'P2034', clientVersion: '7.10.0' })), '40001');
  });

  it('may be of PL/pgSQL, and is never a code of Prisma’s or of Node’s', () => {
    assert.equal(sqlStateOf(error('raised', { code: 'P0001' })), 'P0001');
    for (const code of ['P2010', 'P2028', 'P1017', 'EPIPE', 'ENOENT', 'ERR_X', '', 5]) assert.equal(sqlStateOf(error('x', { code })), undefined, String(code));
  });

  it('is looked for in circles once, and in what is no error not at all', () => {
    const circle: { cause?: unknown } = error('round');
    circle.cause = error('and round', { cause: circle });
    for (const thrown of [circle, undefined, null, 'text', 5, {}]) assert.equal(sqlStateOf(thrown), undefined);
  });
});

describe('a lost connection', () => {
  it('is known by the server’s word, by the network’s, and by each library’s', () => {
    for (const lost of [
      error('terminating connection', { code: '57P01' }),
      error('x', { code: '08006' }),
      error('read ECONNRESET', { code: 'ECONNRESET' }),
      error('write EPIPE', { code: 'EPIPE', syscall: 'write' }),
      error('connect', { errors: [error('a', { code: 'ECONNREFUSED' })] }), // AggregateError of two addresses
      error('write CONNECTION_CLOSED', { code: 'CONNECTION_CLOSED' }),
      error('Connection terminated unexpectedly'),
      error('insert into t - Client has encountered a connection error and is not queryable'), // Knex
      error('Failed query', { cause: error('Connection terminated unexpectedly') }),
      error('closed', { code: 'P1017', clientVersion: '7.10.0' }),
    ]) assert.equal(isConnectionLost(lost), true, lost.message);
  });

  it('is not what the server answered, nor an error of the user’s', () => {
    for (const other of [error('unique', { code: '23505', cause: error('read', { code: 'ECONNRESET' }) }), error('no such hat'), error('The Connection terminated'), undefined, 'ECONNRESET']) {
      assert.equal(isConnectionLost(other), false, String(other));
    }
  });
});
