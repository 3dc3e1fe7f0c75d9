import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import { Problem } from '../service/problem.ts';

/** What an open page may want to hear of. It is told that something changed, and reads the page anew. */
export const TOPICS = ['products', 'basket', 'orders', 'status', 'tick'] as const;
export type Topic = (typeof TOPICS)[number];

/** Open pages at most: each holds a connection. */
const LISTENERS_MAX = 500;
/** Milliseconds in which several changes become one word. */
const GATHER_MS = 60;
/** Milliseconds between signs of life, so that a connection that died is noticed at both ends. */
const HEARTBEAT_MS = 15_000;

interface Listener {
  readonly visitorId: string;
  readonly topics: ReadonlySet<Topic>;
  readonly told: Set<Topic>;
  wake(): void;
}

export interface Live {
  /** Tells open pages that something they show has changed: all of them, or those of one visitor. */
  tell(topic: Topic, visitorId?: string): void;
  /** Answers with server-sent events until the page is closed. */
  stream(c: Context, visitorId: string): Response;
  close(): void;
}

export function createLive(): Live {
  const listeners = new Set<Listener>();
  let isOpen = true;

  return {
    tell(topic, visitorId) {
      for (const listener of listeners) {
        if (!listener.topics.has(topic)) continue;
        if (visitorId !== undefined && listener.visitorId !== visitorId) continue;
        listener.told.add(topic);
        listener.wake();
      }
    },

    stream(c, visitorId) {
      if (listeners.size >= LISTENERS_MAX)
        throw new Problem(
          503,
          'too-many-pages',
          'Too many pages are open at once. This one shows what is new when you reload it.',
        );
      const wanted = (c.req.query('topics') ?? '').split(',');
      const topics = new Set(TOPICS.filter((topic) => wanted.includes(topic)));
      return streamSSE(c, async (stream) => {
        let wake = (): void => undefined;
        const listener: Listener = { visitorId, topics, told: new Set(), wake: () => wake() };
        listeners.add(listener);
        stream.onAbort(() => {
          listeners.delete(listener);
          listener.wake();
        });
        await stream.write(': hello\n\n');
        while (isOpen && !stream.aborted) {
          if (listener.told.size === 0) {
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, HEARTBEAT_MS);
              wake = () => (clearTimeout(timer), resolve());
            });
          }
          if (!isOpen || stream.aborted) break;
          if (listener.told.size > 0) await stream.sleep(GATHER_MS);
          const told = [...listener.told];
          listener.told.clear();
          if (told.length === 0) await stream.write(': still here\n\n');
          for (const topic of told) await stream.writeSSE({ event: topic, data: '' });
        }
        listeners.delete(listener);
      });
    },

    close() {
      isOpen = false;
      for (const listener of listeners) listener.wake();
    },
  };
}
