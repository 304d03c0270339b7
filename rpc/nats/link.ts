/** One NATS connection as mraft uses it: callbacks, bounded, never awaited on a hot path. */
export interface LinkHandler {
  (data: Uint8Array, subject: string, replyTo: string | undefined, status: number): void;
}
