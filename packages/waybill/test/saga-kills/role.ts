/** What one process of the saga kill test is told, as JSON in argv. */
export interface Role {
  readonly service: 'web' | 'ordering' | 'stock' | 'payment';
  /** The transport's. */
  readonly dir: string;
  /** URL. */
  readonly store: string;
  /** The chance to die at each step. */
  readonly selfKill: number;
  /** Web: no more orders. */
  readonly quiet: boolean;
}

export const graceMs = 1_500;
