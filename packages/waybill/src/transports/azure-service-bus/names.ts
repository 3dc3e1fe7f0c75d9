/**
 * Names within Azure's rules: letters, digits, dots, dashes and underscores; 50 characters for subscriptions and rules,
 * 260 for topics and queues, in which slashes part folders. A name that does not fit is cut and ends in a hash of the
 * whole, so that two long names never meet; the whole stands in the entity's user metadata.
 */
import { createHash } from 'node:crypto';

/** Azure's limit for the names of subscriptions and rules. */
const shortMax = 50;
const partMax = 120;
const hashLength = 10;

/** Sessions of a `by-key` subscription: keys are spread over them, and each is worked on by one instance at a time. */
const sessionCount = 32;

export interface Names {
  readonly topic: string;
  subscription(name: string): string;
  rule(type: string, suffix?: string): string;
  /** The queue of one kind of message for one service. */
  queue(kind: 'command' | 'reply', service: string, type: string): string;
  /** Where the queue of a former name goes. */
  moved(name: string): string;
  /** An empty queue that says for some minutes that this subscription was removed, and not deleted by hand. */
  removed(name: string): string;
  /** A reply address is its queue's path. */
  replies(service: string, id: string): string;
}

export function namesWith(prefix: string): Names {
  return {
    topic: `${prefix}/events`,
    subscription: (name) => fitting(name, shortMax),
    rule: (type, suffix = '') => fitting(type, shortMax - suffix.length) + suffix,
    queue: (kind, service, type) => `${prefix}/${kind}s/${service}/${fitting(type, partMax)}`,
    moved: (name) => `${prefix}/moved/${fitting(name, partMax)}`,
    removed: (name) => `${prefix}/removed/${fitting(name, partMax)}`,
    replies: (service, id) => `${prefix}/answers/${service}/${id}`,
  };
}

function fitting(name: string, max: number): string {
  if (name.length <= max && /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/.test(name)) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, hashLength);
  const start = name.replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '').slice(0, max - hashLength - 1);
  return start === '' ? hash : `${start}-${hash}`;
}

/** FNV-1a over UTF-16 units: the same on every sender, for ever. */
export function sessionOf(key: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  }
  hash ^= hash >>> 15; // the low bits of FNV alone are poor for short keys
  return String((hash >>> 0) % sessionCount);
}

export const sessionsMax: number = sessionCount;
