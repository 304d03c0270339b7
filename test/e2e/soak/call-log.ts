/** What came of calls: how many, which errors, and what must not have happened. */

/** Codes that a caller may meet while things break: trying again could have helped, had there been time. */
const PASSING: ReadonlySet<string> = new Set(['DeadlineExceeded', 'Unavailable', 'ServerBusy', 'DiskFull']);
/** Codes that say that nothing was done. */
const REFUSED: ReadonlySet<string> = new Set(['BatchCrossesRegions']);

export function sortOfError(code: string): 'passing' | 'refused' | 'wrong' {
  if (PASSING.has(code)) return 'passing';
  return REFUSED.has(code) ? 'refused' : 'wrong';
}

export class CallLog {
  readonly calls = new Map<string, number>();
  /** By verb and code; what is refused is no error. */
  readonly errors = new Map<string, number>();
  readonly violations: string[] = [];
  readonly #longestMs: number;

  /** @param longestMs what a call may take at most, whatever happens */
  constructor(longestMs: number) {
    this.#longestMs = longestMs;
  }

  /** The code of the error that it ended with; undefined: it is done. A call that does not end is a violation. */
  async call(verb: string, body: () => Promise<unknown>): Promise<string | undefined> {
    count(this.calls, verb);
    const timer = setTimeout(
      () => this.violation(`a ${verb} has not ended after ${this.#longestMs} ms`),
      this.#longestMs,
    );
    try {
      await body();
      return undefined;
    } catch (error) {
      return this.#note(verb, error as Error & { code?: unknown });
    } finally {
      clearTimeout(timer);
    }
  }

  violation(text: string): void {
    this.violations.push(text);
  }

  #note(verb: string, error: Error & { code?: unknown }): string {
    const code = typeof error.code === 'string' ? error.code : String(error);
    const sort = sortOfError(code);
    if (sort !== 'refused') count(this.errors, `${verb} ${code}`);
    if (sort === 'wrong') this.violation(`a ${verb} ended with ${code}: ${error.message}`);
    return code;
  }
}

function count(map: Map<string, number>, name: string): void {
  map.set(name, (map.get(name) ?? 0) + 1);
}
