/**
 * A caller of the JSON service that counts up by compare-and-swap under a session of its own, and asks again with the same
 * sequence until it is answered, sometimes also afterwards. Applied twice, or lost, a swap would not fit the next.
 */

import { subjects } from '../../../rpc/wire/subjects.ts';
import { seededRandom } from '../../linearizability/random-history.ts';
import type { RawClient } from '../raw-client.ts';
import { sortOfError, type CallLog } from './call-log.ts';

const TIMEOUT_MS = 2_000;
const ANSWER_MS = 3_000;
const PAUSE_MS = 20;

interface Answer {
  readonly swapped?: boolean;
  readonly current?: string | null;
  readonly value?: string | null;
  readonly error?: { readonly code: string; readonly message: string; readonly retryable: boolean };
}

export class JsonCounter {
  readonly #raw: RawClient;
  readonly #cluster: string;
  readonly #key: string;
  readonly #session: string;
  readonly #random: () => number;
  readonly #log: CallLog;
  #count = 0;

  constructor(raw: RawClient, options: { cluster: string; id: number; seed: number; log: CallLog }) {
    const { cluster, id, seed, log } = options;
    this.#raw = raw;
    this.#cluster = cluster;
    this.#key = `${String.fromCharCode(40 + id * 20)}json${seed}.${id}`;
    this.#session = `soak-${seed}-${id}-${Date.now()}`;
    this.#random = seededRandom(seed * 77 + id);
    this.#log = log;
  }

  /** How far it has counted. */
  get count(): number {
    return this.#count;
  }

  async run(isStopped: () => boolean): Promise<void> {
    while (!isStopped()) {
      const next = this.#count + 1;
      const request = {
        key: this.#key,
        expected: this.#count === 0 ? null : String(this.#count),
        value: String(next),
        session: this.#session,
        seq: next,
        timeoutMs: TIMEOUT_MS,
      };
      const answer = await this.#askUntilAnswered('cas', request, isStopped);
      if (!answer) return;
      if (answer.swapped !== true)
        return this.#log.violation(`${this.#key}: swap ${next} got ${JSON.stringify(answer)}`);
      this.#count = next;
      if (this.#random() < 0.1) await this.#again(request, isStopped);
      if (this.#random() < 0.2) await this.#read(isStopped);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** The same request once more has the same answer. */
  async #again(request: object, isStopped: () => boolean): Promise<void> {
    const answer = await this.#askUntilAnswered('cas', request, isStopped);
    if (answer && answer.swapped !== true) {
      this.#log.violation(`${this.#key}: swap ${this.#count}, asked again, got ${JSON.stringify(answer)}`);
    }
  }

  async #read(isStopped: () => boolean): Promise<void> {
    const answer = await this.#askUntilAnswered('get', { key: this.#key, timeoutMs: TIMEOUT_MS }, isStopped);
    if (answer && answer.value !== String(this.#count)) {
      this.#log.violation(`${this.#key}: reads ${answer.value}, it had counted to ${this.#count}`);
    }
  }

  /** Undefined: it was told to stop before there was an answer. */
  async #askUntilAnswered(verb: string, request: object, isStopped: () => boolean): Promise<Answer | undefined> {
    while (!isStopped()) {
      let answer: Answer | undefined;
      await this.#log.call(`json ${verb}`, async () => {
        // Nobody there, or no answer in time: what the loop is for.
        answer = await this.#raw.askJson(subjects.kv(this.#cluster, verb), request, ANSWER_MS).catch(() => undefined);
      });
      const error = answer?.error;
      if (answer && !error) return answer;
      if (error && sortOfError(error.code) !== 'passing') {
        this.#log.violation(`${this.#key}: ${verb} ${JSON.stringify(request)} got ${error.code}: ${error.message}`);
        return undefined;
      }
      if (!answer) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return undefined;
  }
}
