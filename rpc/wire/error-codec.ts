/** Errors on the wire: the class that one side threw is the class that the other side throws. */

import { asMraftError, errorFromCode, type MraftError } from './errors.ts';
import type { mraft } from './codec.ts';
import { fromWireRegion, toWireRegion, type Region } from './region.ts';

/** The longest message that is sent; a cause's text can be anything. */
const MESSAGE_CHARS = 512;

export function toWireError(thrown: unknown): mraft.IError {
  const error = asMraftError(thrown);
  const { field, regionId, leaderNodeId, regions } = error.details;
  return {
    code: error.code,
    message: error.message.slice(0, MESSAGE_CHARS),
    field: field ?? '',
    regionId: regionId ?? 0,
    leaderNodeId: leaderNodeId ?? 0,
    regions: (regions as readonly Region[] | undefined)?.map((region) => toWireRegion(region)) ?? [],
  };
}

export function fromWireError(wire: mraft.IError): MraftError {
  return errorFromCode(wire.code ?? '', wire.message ?? '', {
    ...(wire.field ? { field: wire.field } : {}),
    ...(wire.regionId ? { regionId: wire.regionId } : {}),
    ...(wire.leaderNodeId ? { leaderNodeId: wire.leaderNodeId } : {}),
    ...(wire.regions?.length ? { regions: wire.regions.map(fromWireRegion) } : {}),
  });
}
