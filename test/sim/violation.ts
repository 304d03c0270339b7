/** A broken promise: which check noticed it, and what it saw. */

export interface Violation {
  /** Stable name of the check: what the mutation gate and the shrinker go by. */
  readonly check: string;
  readonly message: string;
  readonly atMs: number;
}
