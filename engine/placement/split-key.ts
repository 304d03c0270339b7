import { keyString, type Model } from './model.ts';

/** Whether a split at the key leaves something on both sides. */
export function isInside(model: Model, slot: number, splitKey: Uint8Array): boolean {
  const key = keyString(splitKey);
  const start = model.regions.startKey[slot] as string;
  const end = model.regions.endKey[slot] as string;
  return key > start && (end === '' || key < end);
}
