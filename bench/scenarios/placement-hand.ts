/** Placement asked by hand, as `mraft ctl` does it, but with an ear close by: how long a change takes is a figure here. */

import { asMraftError } from '../../rpc/wire/errors.ts';
import type { Admin } from '../../tools/admin.ts';
import { sleep } from '../generator.ts';
import { checkTiling, type TiledRegion } from './tiling.ts';

export interface OperatorEnd {
  /** `done`, `refused`, `overtaken`, `timedOut`, `cancelled`; or the code with which placement refused to begin. */
  readonly outcome: string;
  readonly text: string;
  readonly durationMs: number;
  readonly operator: OperatorJson | undefined;
}

export interface OperatorJson {
  readonly operatorId: number;
  readonly regionId: number;
  readonly steps: readonly { readonly kind: string; readonly childRegionId?: number }[];
}

export interface LogEntry {
  readonly sequence: number;
  readonly event: string;
  readonly origin?: string;
  readonly operatorId?: number;
  readonly text: string;
}

const POLL_MS = 15;
const RETRY_MS = 100;

export class PlacementHand {
  private readonly admin: Admin;
  private readonly signal: AbortSignal | undefined;
  private seen = 0;

  constructor(admin: Admin, signal?: AbortSignal) {
    this.admin = admin;
    this.signal = signal;
  }

  /** What placement is asked once it is led, or led again. @throws what it answers, or that nobody leads it in time */
  async ask<T>(verb: string, question: object, timeoutMs: number): Promise<T> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      try {
        return (await this.admin.placement(verb, question)) as T;
      } catch (thrown) {
        const error = asMraftError(thrown);
        this.signal?.throwIfAborted();
        if (!error.retryable || performance.now() > deadlineMs) throw error;
        await sleep(RETRY_MS, this.signal);
      }
    }
  }

  async pauseSchedulers(names: readonly string[], timeoutMs: number): Promise<void> {
    for (const name of names) await this.ask('scheduler.pause', { name }, timeoutMs);
  }

  /** Placement does only what it is told by hand. */
  async pauseAllSchedulers(timeoutMs: number): Promise<void> {
    const schedulers = await this.ask<{ name: string }[]>('scheduler.list', {}, timeoutMs);
    await this.pauseSchedulers(
      schedulers.map(({ name }) => name),
      timeoutMs,
    );
  }

  /** The log behind what was asked for before; what is older than placement remembers is missing. */
  async newLogEntries(): Promise<readonly LogEntry[]> {
    const question = { afterSequence: this.seen };
    const { log } = (await this.admin.placement('operator.list', question)) as { log: readonly LogEntry[] };
    this.seen = log.at(-1)?.sequence ?? this.seen;
    return log;
  }

  /** Adds an operator and waits for its end; a change that placement cannot begin yet is asked for again. */
  async change(request: object, timeoutMs: number): Promise<OperatorEnd> {
    const startedMs = performance.now();
    const deadlineMs = startedMs + timeoutMs;
    const since = (): number => performance.now() - startedMs;
    let operator: OperatorJson;
    try {
      operator = await this.ask<OperatorJson>('operator.add', request, timeoutMs);
    } catch (thrown) {
      const { code, message } = asMraftError(thrown);
      return { outcome: code, text: message, durationMs: since(), operator: undefined };
    }
    while (performance.now() < deadlineMs && !this.signal?.aborted) {
      // While placement changes hands its log is not to be had; it lasts.
      const log = await this.newLogEntries().catch(() => []);
      const end = log.find((entry) => entry.operatorId === operator.operatorId && entry.event !== 'started');
      if (end) return { outcome: end.event, text: end.text, durationMs: since(), operator };
      await sleep(POLL_MS, this.signal);
    }
    return { outcome: 'no end', text: `not within ${timeoutMs} ms`, durationMs: since(), operator };
  }

  /** All regions of users' keys as placement knows them, in key order. */
  async regions(): Promise<(TiledRegion & { readonly sizeBytes: number })[]> {
    const regions: (TiledRegion & { readonly sizeBytes: number })[] = [];
    for (let fromKey = '', more = true; more;) {
      const page = (await this.admin.placement('region.list', { fromKey })) as RegionJson[];
      // The first of a page is the one that holds the key: the last page's, if it has changed meanwhile.
      const known = new Set(regions.map(({ regionId }) => regionId));
      regions.push(...page.filter(({ regionId }) => !known.has(regionId)).map(fromJson));
      fromKey = page.at(-1)?.endKey ?? '';
      more = page.length > 0 && fromKey !== '';
    }
    return regions;
  }

  /**
   * The same once they are all there: whoever begins to lead placement hears of them by and by.
   * @throws when they do not tile the key space in time
   */
  async allRegions(timeoutMs: number): Promise<TiledRegion[]> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      const regions = await this.regions().catch(() => []);
      const { problems, isSound, leaderless } = checkTiling(regions);
      if (isSound) return regions;
      this.signal?.throwIfAborted();
      if (performance.now() > deadlineMs) {
        const what = problems.length > 0 ? problems.join('; ') : `${leaderless} without a leader`;
        throw new Error(`placement does not know all regions within ${timeoutMs} ms: ${what}`);
      }
      await sleep(RETRY_MS, this.signal);
    }
  }
}

interface RegionJson {
  readonly regionId: number;
  /** Base64. */
  readonly startKey: string;
  readonly endKey: string;
  readonly leaderNodeId: number;
  readonly sizeBytes: number;
}

function fromJson({ regionId, startKey, endKey, leaderNodeId, sizeBytes }: RegionJson): TiledRegion & {
  readonly sizeBytes: number;
} {
  return {
    regionId,
    startKey: Buffer.from(startKey, 'base64'),
    endKey: Buffer.from(endKey, 'base64'),
    leaderNodeId,
    sizeBytes,
  };
}
