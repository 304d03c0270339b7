/**
 * The errors of mraft. Each is a class with a stable `code`; whether trying again can help is the class it extends,
 * so that a caller writes `catch (e) { if (e instanceof RetryableError) … }` and never a list of codes.
 * The codes travel: a client gets the class that the server threw.
 */

/** What an error knows beside its message; kept small because it crosses the wire. */
export interface ErrorDetails {
  /** The field of a request or of the configuration that is wrong. */
  field?: string;
  regionId?: number;
  /** The node that leads the region, where the sender knows it. */
  leaderNodeId?: number;
  /** The current regions of the range (EpochNotMatch). */
  regions?: readonly unknown[];
  /** Set by the client library: the write was sent and may have taken effect. Does not cross the wire. */
  outcomeUnknown?: boolean;
}

export interface MraftErrorOptions extends ErrorDetails {
  cause?: unknown;
}

/** Everything that mraft throws on purpose. */
export abstract class MraftError extends Error {
  abstract readonly code: ErrorCode;
  abstract readonly retryable: boolean;
  readonly details: ErrorDetails;

  constructor(message: string, options: MraftErrorOptions = {}) {
    const { cause, ...details } = options;
    super(message, cause === undefined ? undefined : { cause });
    this.details = details;
  }

  override get name(): string {
    return this.code;
  }
}

/** Trying again can help: now, after a pause, or somewhere else. The client library does so until the call's deadline. */
export abstract class RetryableError extends MraftError {
  readonly retryable = true;
}

/** Trying the same again gives the same answer. */
export abstract class PermanentError extends MraftError {
  readonly retryable = false;
}

// --- routing: the client library heals these, callers rarely see them ----------------------------------------------

/** This peer does not lead the region; `details.leaderNodeId` says who does, if known. */
export class NotLeader extends RetryableError {
  readonly code = 'NotLeader';
}
/** The request was routed by another epoch of the region; `details.regions` are the current ones. */
export class EpochNotMatch extends RetryableError {
  readonly code = 'EpochNotMatch';
}
/** This node holds no such region. */
export class RegionNotFound extends RetryableError {
  readonly code = 'RegionNotFound';
}
/** A proposal was overtaken by another leader's; it did not take effect by this entry. */
export class ProposalDropped extends RetryableError {
  readonly code = 'ProposalDropped';
}
/**
 * An earlier attempt of this compare-and-swap did not swap, and now it would. Under its sequence it never takes effect; the
 * client library makes the call again under a new one.
 */
export class SequenceSpent extends RetryableError {
  readonly code = 'SequenceSpent';
}

// --- changes of regions --------------------------------------------------------------------------------------------

/** Another change of this region is under way: a membership change, a split, a merge, or a hand-over. */
export class RegionChanging extends RetryableError {
  readonly code = 'RegionChanging';
}
/** The region is about to be merged into its neighbour and takes nothing until that is done or given up. */
export class RegionMerging extends RetryableError {
  readonly code = 'RegionMerging';
}
/** The change cannot follow the present state: the last voter, a split key on a boundary, no neighbours … Nothing changed. */
export class ChangeRefused extends PermanentError {
  readonly code = 'ChangeRefused';
}
/** A node with this id belongs, or belonged, to the cluster: give the new one an id that was never used. */
export class NodeIdInUse extends PermanentError {
  readonly code = 'NodeIdInUse';
}
/** The cluster does not know a node of this id. */
export class NodeNotFound extends PermanentError {
  readonly code = 'NodeNotFound';
}
/** This node forgot writes that it had acknowledged as durable: its data cannot be trusted. Join again under a new id. */
export class Amnesia extends PermanentError {
  readonly code = 'Amnesia';
}
/** A node cannot take a snapshot of a region now: too many are under way, or another region still holds its range. */
export class SnapshotRefused extends RetryableError {
  readonly code = 'SnapshotRefused';
}
/** A part of a snapshot is not what was sent, or not what may follow: the snapshot is given up, and nothing changed. */
export class SnapshotCorrupt extends RetryableError {
  readonly code = 'SnapshotCorrupt';
}
/** Nobody leads placement at the moment. */
export class PlacementUnavailable extends RetryableError {
  readonly code = 'PlacementUnavailable';
}

// --- load and availability -----------------------------------------------------------------------------------------

/** A bounded queue is full. Nothing was done. */
export class ServerBusy extends RetryableError {
  readonly code = 'ServerBusy';
}
/** The deadline passed. A write may or may not have taken effect. */
export class DeadlineExceeded extends RetryableError {
  readonly code = 'DeadlineExceeded';
}
/** No connection to the broker, or nobody answers for this cluster. */
export class Unavailable extends RetryableError {
  readonly code = 'Unavailable';
}
/** The disk is full: writes are refused until there is room. */
export class DiskFull extends RetryableError {
  readonly code = 'DiskFull';
}

// --- requests that are wrong ---------------------------------------------------------------------------------------

/** A field is missing, of the wrong type or out of its range; `details.field` names it. */
export class InvalidArgument extends PermanentError {
  readonly code = 'InvalidArgument';
}
export class KeyEmpty extends PermanentError {
  readonly code = 'KeyEmpty';
}
export class KeyTooLong extends PermanentError {
  readonly code = 'KeyTooLong';
}
export class ValueTooLarge extends PermanentError {
  readonly code = 'ValueTooLarge';
}
export class BatchTooLarge extends PermanentError {
  readonly code = 'BatchTooLarge';
}
/** The keys of an atomic batch lie in several regions. */
export class BatchCrossesRegions extends PermanentError {
  readonly code = 'BatchCrossesRegions';
}
/** Bytes that are no message of this protocol. */
export class MalformedRequest extends PermanentError {
  readonly code = 'MalformedRequest';
}
export class UnknownVerb extends PermanentError {
  readonly code = 'UnknownVerb';
}
/** The request names another cluster than the one it reached. */
export class ClusterMismatch extends PermanentError {
  readonly code = 'ClusterMismatch';
}
/** The key is not in the region that the request names. */
export class KeyNotInRegion extends PermanentError {
  readonly code = 'KeyNotInRegion';
}
/** The region no longer remembers the session: whether the call took effect earlier is unknown. */
export class SessionExpired extends PermanentError {
  readonly code = 'SessionExpired';
}
/** The sequence is below what its session has declared answered: a late duplicate. */
export class StaleSequence extends PermanentError {
  readonly code = 'StaleSequence';
}

// --- the program itself --------------------------------------------------------------------------------------------

/** The client or the database was closed. */
export class Closed extends PermanentError {
  readonly code = 'Closed';
}
/** An option or a flag is unknown, contradictory or out of its range; `details.field` names it. */
export class InvalidConfig extends PermanentError {
  readonly code = 'InvalidConfig';
}
/** The data directory belongs to another node or cluster, or to another version of its format. */
export class DataDirMismatch extends PermanentError {
  readonly code = 'DataDirMismatch';
}
export class DataDirInUse extends PermanentError {
  readonly code = 'DataDirInUse';
}
export class DataDirUnusable extends PermanentError {
  readonly code = 'DataDirUnusable';
}
/** A read or write of the store failed; after a failed sync the node stops. */
export class StorageFailure extends PermanentError {
  readonly code = 'StorageFailure';
}
/** A promise of the code to itself was broken: a bug. */
export class Internal extends PermanentError {
  readonly code = 'Internal';
}

const CLASSES = {
  NotLeader,
  EpochNotMatch,
  RegionNotFound,
  ProposalDropped,
  SequenceSpent,
  RegionChanging,
  RegionMerging,
  ChangeRefused,
  NodeIdInUse,
  NodeNotFound,
  Amnesia,
  SnapshotRefused,
  SnapshotCorrupt,
  PlacementUnavailable,
  ServerBusy,
  DeadlineExceeded,
  Unavailable,
  DiskFull,
  InvalidArgument,
  KeyEmpty,
  KeyTooLong,
  ValueTooLarge,
  BatchTooLarge,
  BatchCrossesRegions,
  MalformedRequest,
  UnknownVerb,
  ClusterMismatch,
  KeyNotInRegion,
  SessionExpired,
  StaleSequence,
  Closed,
  InvalidConfig,
  DataDirMismatch,
  DataDirInUse,
  DataDirUnusable,
  StorageFailure,
  Internal,
};

export type ErrorCode = keyof typeof CLASSES;

/** The error class of a code that came over the wire; an unknown code (a newer server) becomes Internal. */
export function errorFromCode(code: string, message: string, options: MraftErrorOptions = {}): MraftError {
  const known = Object.hasOwn(CLASSES, code) ? CLASSES[code as ErrorCode] : undefined;
  return known ? new known(message, options) : new Internal(`${code}: ${message}`, options);
}

/** Wraps whatever was thrown: an MraftError stays itself, anything else is Internal with its cause. */
export function asMraftError(thrown: unknown): MraftError {
  if (thrown instanceof MraftError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new Internal(message, { cause: thrown });
}

/**
 * An invariant. It stays on in production: a broken one stops the worker before it can do harm.
 * @throws Internal
 */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Internal(`invariant broken: ${message}`);
}
