/** What clients asked of a key and heard, with the times of asking and hearing. */

export type Input =
  | { readonly kind: 'get' }
  | { readonly kind: 'put'; readonly value: string }
  | { readonly kind: 'delete' }
  | { readonly kind: 'cas'; readonly expected: string | undefined; readonly value: string | undefined };

/** `value`: what a get read; `swapped`, `current`: what a compare-and-swap heard. */
export interface Output {
  readonly value?: string | undefined;
  readonly swapped?: boolean;
  /** What the key held when it did not swap. */
  readonly current?: string | undefined;
}

export interface Operation {
  readonly key: string;
  readonly client: number;
  readonly input: Input;
  readonly invokedAt: number;
  /** Infinity: no answer came, so that the operation may have taken effect at any time since, or never. */
  readonly returnedAt: number;
  /** Undefined without an answer. */
  readonly output: Output | undefined;
}

export function describeOperation(operation: Operation): string {
  const { client, invokedAt, returnedAt, input, output } = operation;
  const until = returnedAt === Infinity ? '…' : returnedAt.toFixed(1);
  const heard = output === undefined ? 'no answer' : JSON.stringify(output);
  return `[${invokedAt.toFixed(1)}, ${until}] client ${client}: ${JSON.stringify(input)} → ${heard}`;
}
