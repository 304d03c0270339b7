/** Small histories of one key, from a seed: some of a correct register, some with an answer that was changed. */

import type { Input, Operation, Output } from './history.ts';

/** Uniform in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const VALUES = ['a', 'b', undefined] as const;

/**
 * Operations that overlap at random, each answered as a register would at a random moment inside it. Some lose their
 * answer; `wrong` then replaces one answer by a random one, which may still be right by chance.
 */
export function randomHistory(
  random: () => number,
  options: { operations: number; wrong: boolean; spanMs?: number },
): Operation[] {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const planned = Array.from({ length: options.operations }, (_, client) => {
    const invokedAt = random() * (options.spanMs ?? 10);
    const takesMs = random() * 5;
    const input = randomInput(pick);
    return { client, input, invokedAt, effectAt: invokedAt + random() * takesMs, returnedAt: invokedAt + takesMs };
  });
  let state: string | undefined;
  const history = planned
    .sort((a, b) => a.effectAt - b.effectAt)
    .map(({ client, input, invokedAt, returnedAt }): Operation => {
      const isLost = random() < 0.2;
      const happens = !isLost || random() < 0.5;
      const [next, output] = answer(state, input);
      if (happens) state = next;
      const heard = isLost ? { returnedAt: Infinity, output: undefined } : { returnedAt, output };
      return { key: 'k', client, input, invokedAt, ...heard };
    });
  return options.wrong ? withWrongAnswer(history, pick) : history;
}

function randomInput(pick: <T>(items: readonly T[]) => T): Input {
  const kind = pick(['get', 'get', 'put', 'delete', 'cas'] as const);
  if (kind === 'put') return { kind, value: pick(['a', 'b'] as const) };
  if (kind === 'cas') return { kind, expected: pick(VALUES), value: pick(VALUES) };
  return { kind };
}

function answer(state: string | undefined, input: Input): [state: string | undefined, output: Output] {
  if (input.kind === 'get') return [state, { value: state }];
  if (input.kind === 'put') return [input.value, {}];
  if (input.kind === 'delete') return [undefined, {}];
  return state === input.expected ? [input.value, { swapped: true }] : [state, { swapped: false, current: state }];
}

function withWrongAnswer(history: readonly Operation[], pick: <T>(items: readonly T[]) => T): Operation[] {
  const victim = pick(history);
  const output: Output =
    victim.input.kind === 'get'
      ? { value: pick(VALUES) }
      : pick([{ swapped: true }, { swapped: false, current: pick(VALUES) }]);
  const canBeWrong = victim.output !== undefined && (victim.input.kind === 'get' || victim.input.kind === 'cas');
  return history.map((operation) => (operation === victim && canBeWrong ? { ...operation, output } : operation));
}
