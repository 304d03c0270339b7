/**
 * The definition of linearizability, tried out: every choice of the operations without an answer that took effect, in
 * every order that respects time. Slow and plain on purpose; it shares nothing with the checker that it checks.
 */

import type { Operation } from './history.ts';

/** Operations of one key; more than eight take for ever. */
export function isLinearizable(operations: readonly Operation[]): boolean {
  const answered = operations.filter((operation) => operation.output !== undefined);
  const open = operations.filter((operation) => operation.output === undefined);
  return subsets(open).some((happened) => orders([...answered, ...happened]).some(explains));
}

function subsets<T>(items: readonly T[]): T[][] {
  const [first, ...rest] = items;
  if (first === undefined) return [[]];
  return subsets(rest).flatMap((subset) => [subset, [first, ...subset]]);
}

function orders(operations: readonly Operation[]): Operation[][] {
  if (operations.length === 0) return [[]];
  return operations.flatMap((first) => {
    const rest = operations.filter((operation) => operation !== first);
    return orders(rest).map((order) => [first, ...order]);
  });
}

function explains(order: readonly Operation[]): boolean {
  return respectsTime(order) && answersFit(order);
}

function respectsTime(order: readonly Operation[]): boolean {
  return order.every((later, at) => order.slice(0, at).every((earlier) => later.returnedAt >= earlier.invokedAt));
}

function answersFit(order: readonly Operation[]): boolean {
  const cell: string[] = [];
  const write = (value: string | undefined): void => {
    cell.length = 0;
    if (value !== undefined) cell.push(value);
  };
  return order.every(({ input, output }) => {
    const held = cell[0];
    if (input.kind === 'put') write(input.value);
    if (input.kind === 'delete') write(undefined);
    if (input.kind === 'get') return output === undefined || output.value === held;
    if (input.kind !== 'cas') return true;
    if (held === input.expected) {
      write(input.value);
      return output === undefined || output.swapped === true;
    }
    return output === undefined || (output.swapped === false && output.current === held);
  });
}
