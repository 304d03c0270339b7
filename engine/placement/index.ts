/** Everything that the host of placement may use. */

export * from './types.ts';
export { DEFAULT_SETTINGS, changeSettings, type PlacementSettings } from './settings.ts';
export { LABEL_PROMISE, areLabels, isLabelText } from './labels.ts';
export { Placement, type PlacementOptions } from './placement.ts';
export { PlacementRing, VIRTUAL_NODES, type RingNode, type RingOptions } from './ring.ts';
export { Gossip, type GossipEnvelope, type GossipOptions, type GossipReceipt } from './gossip/gossip.ts';
export type { GossipEntry, GossipKind, GossipVersion } from './gossip/entry.ts';
export { decodeGossip, encodeGossip, type GossipMessage } from './gossip/messages.ts';
