import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import { mendLinks } from './mend-links.ts';

const { Receiver } = createRequire(import.meta.resolve('@azure/service-bus'))('rhea-promise') as { Receiver: { prototype: object } };
const linkWith = (source: object | undefined): { readonly address?: string } => Object.create(Receiver.prototype, { _link: { value: { source } } }) as object;

describe("a link of Azure's SDK that lost its source", () => {
  it('has no address, where it threw', () => {
    assert.throws(() => linkWith(undefined).address, TypeError); // once it does not, there is nothing to mend
    mendLinks();
    mendLinks();
    assert.equal(linkWith(undefined).address, undefined);
    assert.equal(linkWith({ address: '$management' }).address, '$management');
  });
});
