/** A region's descriptor in JSON: keys in base64, because they are bytes. */

import { MalformedRequest } from '../../rpc/wire/errors.ts';
import type { Peer, PeerRole, Region } from '../../rpc/wire/region.ts';

export interface RegionJson {
  readonly regionId: number;
  readonly startKey: string;
  readonly endKey: string;
  readonly epoch: { readonly version: number; readonly confVersion: number };
  readonly peers: readonly Peer[];
}

/** Node would pass over what is none of it. */
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const ROLES: ReadonlySet<string> = new Set<PeerRole>(['voter', 'learner', 'incomingVoter', 'demotingVoter']);

export function regionToJson(region: Region): RegionJson {
  const { regionId, startKey, endKey, epoch, peers } = region;
  return {
    regionId,
    startKey: keyToJson(startKey),
    endKey: keyToJson(endKey),
    epoch: { version: epoch.version, confVersion: epoch.confVersion },
    peers: peers.map(({ peerId, nodeId, role }) => ({ peerId, nodeId, role })),
  };
}

/** @throws MalformedRequest */
export function regionFromJson(json: unknown): Region {
  const { regionId, startKey, endKey, epoch, peers } = (json ?? {}) as Record<string, unknown>;
  const { version, confVersion } = (epoch ?? {}) as Record<string, unknown>;
  if (!Array.isArray(peers)) throw new MalformedRequest('a region has peers');
  return {
    regionId: positive(regionId, 'regionId'),
    startKey: keyFromJson(startKey),
    endKey: keyFromJson(endKey),
    epoch: { version: whole(version, 'version'), confVersion: whole(confVersion, 'confVersion') },
    peers: peers.map(peerFromJson),
  };
}

function peerFromJson(json: unknown): Peer {
  const { peerId, nodeId, role } = (json ?? {}) as Record<string, unknown>;
  if (typeof role !== 'string' || !ROLES.has(role)) throw new MalformedRequest('a peer has a role');
  return { peerId: positive(peerId, 'peerId'), nodeId: positive(nodeId, 'nodeId'), role: role as PeerRole };
}

export function keyToJson(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('base64');
}

/** @throws MalformedRequest */
export function keyFromJson(json: unknown): Uint8Array {
  if (typeof json !== 'string' || !BASE64.test(json)) throw new MalformedRequest('a key is text in base64');
  return Buffer.from(json, 'base64');
}

function positive(value: unknown, field: string): number {
  if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
  throw new MalformedRequest(`${field} must be a positive whole number`, { field });
}

function whole(value: unknown, field: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new MalformedRequest(`${field} must be a whole number`, { field });
}
