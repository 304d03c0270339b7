/** What is gossiped: for each subject the newest thing said of it, opaque to the protocol. */

export const GOSSIP_KINDS = ['node', 'region'] as const;
export type GossipKind = (typeof GOSSIP_KINDS)[number];

/**
 * Compared from the left; each part is a whole number from 0. Of a node: its boot epoch and the counter of its heartbeats; of a
 * region: the version and confVersion of its epoch, and the leader's term.
 */
export type GossipVersion = readonly [number, number, number];

export interface GossipEntry {
  readonly kind: GossipKind;
  readonly id: number;
  readonly version: GossipVersion;
  /** Null: the subject is no more. That is remembered for a while, so that nobody brings it back. */
  readonly value: Uint8Array | null;
  /** Of a null, since it was said. */
  readonly ageMs: number;
}

/** One number for kind and id. */
export function keyOf(kind: GossipKind, id: number): number {
  return id * GOSSIP_KINDS.length + GOSSIP_KINDS.indexOf(kind);
}

export function kindOfKey(key: number): GossipKind {
  return GOSSIP_KINDS[key % GOSSIP_KINDS.length] as GossipKind;
}

export function idOfKey(key: number): number {
  return Math.floor(key / GOSSIP_KINDS.length);
}

/** Above 0: `a` is newer. */
export function compareVersions(a: GossipVersion, b: GossipVersion): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}
