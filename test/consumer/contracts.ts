/** A contract package of a user: its declarations must name no schema library. */
import { defineCommand, defineEvent, type CommandContract, type EventContract } from 'waybill';
import * as z from 'zod';

export const PriceChanged = defineEvent('catalog.price-changed', {
  schema: z.object({ id: z.string(), price: z.number(), at: z.iso.datetime().transform((text) => new Date(text)) }),
  key: (event) => event.id,
});

export const CreateOrder = defineCommand('ordering.create-order', {
  schema: z.object({ lines: z.array(z.string()).default([]) }),
  reply: z.object({ orderId: z.string() }),
});

export const contracts: readonly (EventContract | CommandContract)[] = [PriceChanged, CreateOrder];
