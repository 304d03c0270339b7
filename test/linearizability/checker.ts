/**
 * Says whether a history is linearizable: whether every operation can be given one moment between its invocation and
 * its answer, such that all answers are those of a map that is used by one caller at a time (Herlihy & Wing 1990).
 * Keys are independent of each other, so each is checked alone.
 *
 * The search is that of Wing & Gong (1993), with Lowe's memory of states that were tried (2017): take an operation that
 * nothing unplaced must come before, place it if its answer fits, go on, and back out at dead ends. Operations that only
 * look are placed as soon as they fit, so that only writes make the search branch.
 */

import { describeOperation, type Operation, type Output } from './history.ts';

export type Verdict =
  | { readonly result: 'linearizable' }
  | { readonly result: 'violation'; readonly key: string; readonly explanation: string }
  /** The budget ran out; neither proven nor refuted. */
  | { readonly result: 'undecided'; readonly key: string };

export interface CheckOptions {
  /** States of one key that are tried at most. Default 1 million. */
  readonly maxStates?: number;
}

const DEFAULT_MAX_STATES = 1_000_000;

export function checkHistory(history: readonly Operation[], options: CheckOptions = {}): Verdict {
  const byKey = new Map<string, Operation[]>();
  for (const operation of history) {
    const operations = byKey.get(operation.key);
    if (operations) operations.push(operation);
    else byKey.set(operation.key, [operation]);
  }
  for (const [key, operations] of byKey) {
    const relevant = withoutIrrelevant(operations);
    const search = new Search(relevant, options.maxStates ?? DEFAULT_MAX_STATES);
    const result = search.run();
    if (result === 'violation') return { result, key, explanation: search.explain() };
    if (result === 'undecided') return { result, key };
  }
  return { result: 'linearizable' };
}

/**
 * Leaves out what cannot change the verdict, and would double the search each: reads without an answer, and writes
 * without an answer whose value nobody saw. Such a write is no help to any other answer: between it and the next
 * write nobody can have looked, so the history is linearizable with it only if it is without it.
 */
function withoutIrrelevant(operations: readonly Operation[]): Operation[] {
  const seen = new Set<string | undefined>();
  for (const { input, output } of operations) {
    // A swap looks at the key also when nobody hears of it.
    if (input.kind === 'cas') seen.add(input.expected);
    if (input.kind === 'cas' && output?.swapped === false) seen.add(output.current);
    if (input.kind === 'get' && output !== undefined) seen.add(output.value);
  }
  return operations.filter(({ input, output }) => {
    if (output !== undefined) return true;
    if (input.kind === 'get') return false;
    return seen.has(input.kind === 'delete' ? undefined : input.value);
  });
}

/** The invocation or the answer of an operation, in a list by time from which placed operations are lifted out. */
interface Event {
  readonly operation: Operation | undefined;
  readonly id: number;
  /** Of an invocation: its answer; undefined: none came. */
  readonly answer: Event | undefined;
  readonly isInvocation: boolean;
  previous: Event | undefined;
  next: Event | undefined;
}

interface Placed {
  readonly event: Event;
  readonly stateBefore: string | undefined;
}

class Search {
  readonly #operations: readonly Operation[];
  readonly #maxStates: number;
  readonly #head: Event;
  readonly #isPlaced: Uint16Array;
  readonly #tried = new Set<string>();
  readonly #placed: Placed[] = [];
  #unansweredLeft: number;
  #state: string | undefined;
  #longest: readonly Operation[] = [];
  #stuckAt: Operation | undefined;

  constructor(operations: readonly Operation[], maxStates: number) {
    this.#operations = operations;
    this.#maxStates = maxStates;
    this.#head = eventList(operations);
    this.#isPlaced = new Uint16Array(Math.ceil(operations.length / 16));
    this.#unansweredLeft = operations.filter(({ output }) => output !== undefined).length;
  }

  run(): Verdict['result'] {
    this.#placeReads();
    let event = this.#head.next;
    // Operations without an answer that are left at the end need no place: they may never have happened.
    while (this.#unansweredLeft > 0) {
      if (event?.isInvocation) {
        if (this.#placeWrite(event)) {
          if (this.#tried.size > this.#maxStates) return 'undecided';
          this.#placeReads();
          event = this.#head.next;
        } else event = event.next;
        continue;
      }
      // An answer whose operation is not placed: something before it was placed wrongly.
      if (event?.operation) this.#remember(event.operation);
      const last = this.#unplaceWrite();
      if (!last) return 'violation';
      event = last.next;
    }
    return 'linearizable';
  }

  /** The longest order that was found, and the answer that does not fit behind it. */
  explain(): string {
    const placed = new Set(this.#longest);
    const open = this.#operations.filter((operation) => !placed.has(operation)).slice(0, 10);
    return [
      `no order explains: ${this.#stuckAt ? describeOperation(this.#stuckAt) : 'the first answer'}`,
      'longest order found:',
      ...this.#longest.slice(-10).map((operation) => `  ${describeOperation(operation)}`),
      'not placed:',
      ...open.map((operation) => `  ${describeOperation(operation)}`),
    ].join('\n');
  }

  /**
   * Places every operation that may come next, only looks, and saw what the key holds now. No order is lost: wherever
   * else such an operation could stand, it can as well stand here, because it changes nothing for those between.
   */
  #placeReads(): void {
    for (let event = this.#head.next; event?.isInvocation; event = event.next) {
      const operation = event.operation as Operation;
      if (onlyLooks(operation) && applyTo(this.#state, operation)) this.#place(event, this.#state);
    }
  }

  /** Tries an operation in the next place; false when its answer does not fit, or this was tried before. */
  #placeWrite(event: Event): boolean {
    const operation = event.operation as Operation;
    if (onlyLooks(operation)) return false;
    const outcome = applyTo(this.#state, operation);
    if (!outcome) return false;
    this.#place(event, outcome.state);
    const state = this.#state === undefined ? '-' : `=${this.#state}`;
    const fingerprint = `${String.fromCharCode(...this.#isPlaced)}${state}`;
    if (this.#tried.has(fingerprint)) {
      this.#unplace();
      return false;
    }
    this.#tried.add(fingerprint);
    return true;
  }

  /** Takes back the last write, and the reads that were placed behind it. */
  #unplaceWrite(): Event | undefined {
    for (;;) {
      const event = this.#unplace();
      if (!event?.operation || !onlyLooks(event.operation)) return event;
    }
  }

  #place(event: Event, state: string | undefined): void {
    this.#toggle(event.id);
    this.#placed.push({ event, stateBefore: this.#state });
    this.#state = state;
    if (event.answer) {
      this.#unansweredLeft -= 1;
      unlink(event.answer);
    }
    unlink(event);
  }

  #unplace(): Event | undefined {
    const last = this.#placed.pop();
    if (!last) return undefined;
    const { event, stateBefore } = last;
    relink(event);
    if (event.answer) {
      relink(event.answer);
      this.#unansweredLeft += 1;
    }
    this.#state = stateBefore;
    this.#toggle(event.id);
    return event;
  }

  #toggle(id: number): void {
    const word = id >> 4;
    this.#isPlaced[word] = (this.#isPlaced[word] ?? 0) ^ (1 << (id & 15));
  }

  #remember(stuckAt: Operation): void {
    if (this.#placed.length < this.#longest.length) return;
    this.#longest = this.#placed.map(({ event }) => event.operation as Operation);
    this.#stuckAt = stuckAt;
  }
}

/** Whether an operation, as it was answered, left the key as it found it. */
function onlyLooks({ input, output }: Operation): boolean {
  if (input.kind === 'get') return true;
  return input.kind === 'cas' && (output?.swapped === false || input.expected === input.value);
}

/** The register behind a key. Undefined: the answer does not fit the state. */
function applyTo(state: string | undefined, { input, output }: Operation): { state: string | undefined } | undefined {
  switch (input.kind) {
    case 'get':
      return output === undefined || output.value === state ? { state } : undefined;
    case 'put':
      return { state: input.value };
    case 'delete':
      return { state: undefined };
    case 'cas':
      return swap(state, input, output);
  }
}

function swap(
  state: string | undefined,
  input: { readonly expected: string | undefined; readonly value: string | undefined },
  output: Output | undefined,
): { state: string | undefined } | undefined {
  const swaps = state === input.expected;
  if (output !== undefined) {
    if (output.swapped !== swaps) return undefined;
    if (!swaps && output.current !== state) return undefined;
  }
  return { state: swaps ? input.value : state };
}

/** A list with a head; at equal times invocations come first, so that operations which touch count as concurrent. */
function eventList(operations: readonly Operation[]): Event {
  const timed: { at: number; event: Event }[] = [];
  operations.forEach((operation, id) => {
    const common = { operation, id, previous: undefined, next: undefined };
    const hasAnswer = operation.output !== undefined;
    const answer = hasAnswer ? { ...common, answer: undefined, isInvocation: false } : undefined;
    if (answer) timed.push({ at: operation.returnedAt, event: answer });
    timed.push({ at: operation.invokedAt, event: { ...common, answer, isInvocation: true } });
  });
  timed.sort((a, b) => a.at - b.at || Number(b.event.isInvocation) - Number(a.event.isInvocation));
  const head: Event = {
    operation: undefined,
    id: -1,
    answer: undefined,
    isInvocation: false,
    previous: undefined,
    next: undefined,
  };
  let last = head;
  for (const { event } of timed) {
    last.next = event;
    event.previous = last;
    last = event;
  }
  return head;
}

function unlink(event: Event): void {
  if (event.previous) event.previous.next = event.next;
  if (event.next) event.next.previous = event.previous;
}

/** Undoes `unlink`; in the reverse order of unlinking, so that the neighbours are those it had. */
function relink(event: Event): void {
  if (event.previous) event.previous.next = event;
  if (event.next) event.next.previous = event;
}
