/** What a node may say of where it stands, and what of that may keep replicas apart. */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Labels } from './types.ts';

/** What names and values of labels are made of: they are typed on command lines, and shown. */
export const LABEL_PROMISE = `1 to ${LIMITS.labelChars} letters, digits, '.', '-' and '_'`;

const LABEL = /^[A-Za-z0-9._-]+$/;

export function isLabelText(text: unknown): text is string {
  return typeof text === 'string' && text.length <= LIMITS.labelChars && LABEL.test(text);
}

/** Whether something of unknown origin is a node's labels. */
export function areLabels(value: unknown): value is Labels {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const entries = Object.entries(value);
  return (
    entries.length <= LIMITS.labelsPerNode && entries.every(([name, text]) => isLabelText(name) && isLabelText(text))
  );
}

/** Of a label that was never given, the empty text. */
export function labelOf(labels: Labels, name: string): string {
  return Object.hasOwn(labels, name) ? (labels[name] as string) : '';
}
