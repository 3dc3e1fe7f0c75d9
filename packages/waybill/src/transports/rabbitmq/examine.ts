/**
 * What stands at the broker against what was declared. Policies of the broker (limits, times to live) do not show over
 * AMQP, and are not looked at; arguments that differ do, as a queue that is asserted is refused.
 */
import type { Finding } from '../../contract/doctor.ts';
import type { Declaration } from '../../contract/transport.ts';
import type { Names } from './names.ts';
import type { Topology } from './topology.ts';

/** Quorum queues with a place kept for what comes back, and dead-lettering at least once. */
const versionMin = [3, 10] as const;

export interface ExamineOptions {
  readonly topology: Topology;
  readonly names: Names;
  readonly service: string;
  readonly queueType: 'quorum' | 'classic';
  readonly declared: readonly Declaration[];
  /** As the broker says; undefined where the client does not tell. */
  readonly version: string | undefined;
}

export async function examine({ topology, names, service, queueType, declared, version }: ExamineOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  const [major = 0, minor = 0] = (version ?? '').split('.').map(Number);
  if (version !== undefined && (major < versionMin[0] || (major === versionMin[0] && minor < versionMin[1]))) {
    findings.push({ code: 'RABBITMQ_TOO_OLD', severity: 'unsafe', message: `the broker is RabbitMQ ${version}`, next: `Use ${versionMin.join('.')} or newer.` });
  }
  if (queueType === 'classic') {
    findings.push({ code: 'QUEUES_NOT_REPLICATED', severity: 'warning', message: 'queues are classic: each lives on one node', next: "Use queues: 'quorum', unless the broker has one node." });
  }
  if (declared.length > 0 && !(await topology.inspect(names.dead(service)))) {
    findings.push({
      code: 'DEAD_LETTERS_MISSING',
      severity: 'unsafe',
      message: `the queue ${names.dead(service)} is not there: what cannot be read has nowhere to go`,
      next: 'Start the service once: it makes the queue.',
    });
  }
  for (const declaration of declared) {
    for (const queue of names.queuesOf(declaration)) {
      if (!(await topology.inspect(queue))) {
        findings.push({ code: 'QUEUE_MISSING', severity: 'unsafe', message: `the queue ${queue} is not there: what is published for it is not kept`, next: 'Start the service: it makes the queue; then audit.' });
        continue;
      }
      const conflict = await topology.conflict(queue);
      if (conflict) findings.push({ code: 'QUEUE_OTHER_ARGUMENTS', severity: 'unsafe', message: conflict.message, next: 'Drain and delete the queue, and start the service.' });
    }
  }
  return findings;
}
