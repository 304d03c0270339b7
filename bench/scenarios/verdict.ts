/** What a scenario must reach, and whether it did. */

import { median } from '../targets.ts';

export interface ScenarioVerdict {
  readonly measure: string;
  /** Undefined: there is no figure, which is a miss. */
  readonly value: number | undefined;
  readonly atLeast?: number;
  readonly atMost?: number;
  /** Of the value and its bound; default: none. */
  readonly unit?: string;
  readonly met: boolean;
}

export function verdict(
  measure: string,
  value: number | undefined,
  bounds: { readonly atLeast?: number; readonly atMost?: number; readonly unit?: string },
): ScenarioVerdict {
  const met = value !== undefined && value >= (bounds.atLeast ?? -Infinity) && value <= (bounds.atMost ?? Infinity);
  return { measure, value, ...bounds, met };
}

/** Of the figure of each round, the median of those over that of others; undefined where there are none. */
export function ratioOfMedians(of: readonly number[], to: readonly number[]): number | undefined {
  const above = median(of);
  const below = median(to);
  return above === undefined || below === undefined || below === 0 ? undefined : above / below;
}

/** The figure of each round, of one kind of window. */
export function perRound<W extends { readonly kind: string }>(
  windows: readonly W[],
  kind: W['kind'],
  figure: (window: W) => number,
): number[] {
  return windows.filter((window) => window.kind === kind).map(figure);
}

export function medianOf<W extends { readonly kind: string }>(
  windows: readonly W[],
  kind: W['kind'],
  figure: (window: W) => number,
): number | undefined {
  return median(perRound(windows, kind, figure));
}

export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, value) => total + value, 0);
}
