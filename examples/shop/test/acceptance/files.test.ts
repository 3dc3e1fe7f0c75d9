/** The acceptance on the embedded default: files, nothing installed. */
import { acceptance } from './acceptance.ts';

acceptance({
  name: 'on files',
  looks: ['desktop-light', '390px-dark'],
  ground: async () => ({ env: {}, async [Symbol.asyncDispose]() {} }),
});
