/**
 * Every bound of mraft, by name, in one place. Sizes are bytes, times are milliseconds.
 *
 * A limit that a user meets (key, value, batch) is part of the interface; the others keep memory and latency bounded
 * when something is slow or hostile. Nothing else in the project invents a number of this kind.
 */

const KIB = 1024;
const MIB = 1024 * 1024;

export const LIMITS = {
  // --- what a caller may send -------------------------------------------------------------------------------------
  /** Longest key. */
  keyBytes: 8 * KIB,
  /** Longest value. */
  valueBytes: 512 * KIB,
  /** Most operations in one atomic batch. */
  batchOps: 4096,
  /** Keys and values of one atomic batch together. */
  batchBytes: 512 * KIB,
  /** Most keys in one request of a batchGet that reaches a region. */
  readKeys: 4096,
  /** Values in one answer to a read; one value may pass it alone. What is left is asked for again. */
  readBytes: 256 * KIB,
  /** Longest session name. */
  sessionBytes: 64,
  /** Entries in one page of a scan. */
  scanPageEntries: 1024,
  /** Keys and values in one page of a scan; one entry may pass it alone. */
  scanPageBytes: 256 * KIB,
  /** Longest time a caller may ask to wait. */
  timeoutMs: 10 * 60_000,

  // --- frames and connections -------------------------------------------------------------------------------------
  /** Largest frame that is sent; a stock broker refuses payloads over 1 MiB. */
  frameBytes: 960 * KIB,
  /** Frames are closed at this size, so that one of the largest messages still fits. */
  frameTargetBytes: 256 * KIB,
  /** Bytes that may wait in one connection's socket before further frames are dropped (peers) or refused (clients). */
  socketBacklogBytes: 16 * MIB,
  /** Peers that one frame tells that they were removed; they ask again. */
  noticesPerFrame: 64,
  /** Requests in one frame of a client. */
  requestsPerFrame: 4096,

  // --- a worker ---------------------------------------------------------------------------------------------------
  /** Inbound frames that wait for a worker's turn; beyond it peers' frames are dropped, clients' refused as ServerBusy. */
  inboxFrames: 4096,
  inboxBytes: 64 * MIB,
  /** Frames taken by one turn. */
  framesPerTurn: 256,
  bytesPerTurn: 4 * MIB,
  /** Answers to reads that one region gives in one turn; the reads behind them wait for the next. */
  regionReadBytesPerTurn: 1 * MIB,
  /** Proposals of one region that are proposed and not yet applied. */
  regionPendingProposals: 4096,
  regionPendingBytes: 16 * MIB,
  /** Reads of one region that wait for a read index. */
  regionPendingReads: 8192,
  regionPendingReadBytes: 16 * MIB,
  /** Read indexes that one leader is asked for by other replicas and has not proved. */
  regionReadIndexAskers: 1024,
  /** Regions of one node. */
  regionsPerNode: 100_000,
  /** How long a worker's thread may take to begin its task, on a machine that is full; then another one is tried. */
  workerStartMs: 30_000,
  /** Workers of one node. */
  workersPerNode: 64,
  /** Longest name of a cluster. */
  clusterNameBytes: 64,
  /** Addresses of brokers that a node may be given. */
  brokerUrls: 16,
  /** Bounds of the election time-out: below, timers and fsyncs alone cost leaders; above, nobody waits for a new one. */
  shortestElectionTimeoutMs: 20,
  longestElectionTimeoutMs: 60_000,
  /** Nodes and peers that are remembered for counting and for boot epochs. */
  nodesPerCluster: 1024,

  // --- regions that sleep -----------------------------------------------------------------------------------------
  /** Longest time without work that a region may be told to stay awake for. */
  longestHibernateAfterMs: 24 * 60 * 60_000,
  /** Longest time between two checks of one region. */
  longestConsistencyCheckMs: 30 * 24 * 60 * 60_000,
  /** Regions that one tick looks at, and wakes, when a node is lost. */
  sleepersPerTick: 4096,
  wakeUpsPerTick: 64,

  // --- a Raft group -----------------------------------------------------------------------------------------------
  /** Entries of one append message together. */
  appendBytes: 256 * KIB,
  /** Append messages to one peer that are sent and not answered. */
  inflightAppends: 64,
  inflightAppendBytes: 4 * MIB,
  /** Entries of one region that are appended and not yet committed. */
  uncommittedBytes: 16 * MIB,
  /** Recent entries of one region that are kept in memory for peers that are a little behind. */
  entryCacheBytes: 1 * MIB,
  /** Committed entries that a replica holds in memory until it can apply them; what is beyond is read again. */
  unappliedBytes: 4 * MIB,
  /** Entries handed to apply at once. */
  applyBytes: 1 * MIB,
  /**
   * Committed entries of a follower that make a run: so many, so many bytes, or waiting for so long. The more regions lag on a
   * worker, the longer they wait, because each run writes the same records again however few entries it has.
   */
  laggingRunEntries: 16,
  laggingRunBytes: 48 * KIB,
  laggingRunMs: 30,
  laggingRunMsPerRegion: 0.4,
  laggingRunMostMs: 300,
  /** What followers apply in one turn, and what one follower may lag behind. */
  laggingBytesPerTurn: 96 * KIB,
  laggingBytes: 1 * MIB,
  /** A log that is longer is cut behind what all its peers have; it keeps this much of it. */
  logKeepEntries: 1024,
  logKeepBytes: 1 * MIB,
  /** A log that is longer is cut also where a peer lacks the entries: that one gets a snapshot. */
  logForceEntries: 16_384,
  logForceBytes: 16 * MIB,
  /** A log is let grow up to this for a peer that has got a snapshot and catches up. */
  logCatchUpEntries: 1_000_000,
  logCatchUpBytes: 512 * MIB,
  /** Largest payload of one entry; commands of several requests share an entry up to it. */
  entryBytes: 640 * KIB,

  // --- a snapshot -------------------------------------------------------------------------------------------------
  /** Keys and values of one chunk; one entry may pass it alone. Below `frameTargetBytes`, as a frame adds to it. */
  snapshotChunkBytes: 192 * KIB,
  snapshotChunkEntries: 8192,
  /** Chunks that one worker has sent and that are not acknowledged; its snapshots share them. Below `socketBacklogBytes`. */
  snapshotWindowChunks: 48,
  /** Snapshots that one node sends at once, and receives at once; divided among its workers, each has one at least. */
  snapshotsSent: 4,
  snapshotsReceived: 4,
  /** How long a chunk may go unacknowledged before it is sent again, and how long a snapshot may stand still. */
  snapshotResendMs: 1_000,
  snapshotIdleMs: 10_000,
  /** How long a leader waits before it tries a snapshot again that failed. */
  snapshotRetryMs: 500,
  /** A worker that replicates so much between two ticks sends snapshots at this share of its rate. */
  snapshotBusyBytes: 32 * KIB,
  snapshotBusyShare: 1 / 16,
  /** Keys and values that one turn puts in the place of old ones. */
  snapshotInstallBytesPerTurn: 384 * KIB,
  /** Chunks of one snapshot: what a region may have. */
  snapshotChunks: 1_000_000,
  /** Threads of the second pool, and jobs that wait for one. */
  jobThreads: 2,
  queuedJobs: 1024,
  /** Snapshots that ended, and whose sender may not have heard so. */
  snapshotsRemembered: 256,

  // --- split and merge --------------------------------------------------------------------------------------------
  /** Entries that a merge carries for peers of the source that are a little behind; they must fit one entry. */
  mergeEntriesBytes: 384 * KIB,
  /** How long a target waits for its source on its node before it asks its leader for a snapshot instead, and how often. */
  mergePatienceMs: 10_000,
  mergeAskAgainMs: 2_000,
  /** Regions merged into another that it remembers. */
  absorbedRegions: 256,
  /** A page of a range that a consistency check hashes ends behind the entry that passes this. */
  hashPageBytes: 256 * KIB,
  /** Groups of pages that a leader tells its peers of; with the longest keys they must fit one entry. */
  hashGroups: 48,
  /** Pages of one consistency check that a replica remembers: of a larger region the rest is one page. */
  hashPages: 65_536,
  /** Regions that are not here and of which is remembered that they were heard of. */
  unknownRegions: 4096,
  /** A page of a region whose middle is looked for. */
  measurePageBytes: 128 * KIB,
  /** Keys that a leader remembers of its recent requests, to find where its traffic halves. */
  sampledKeys: 128,

  // --- a store ----------------------------------------------------------------------------------------------------
  /** A batch that grew beyond this gives its memory back when it is cleared. */
  storeBatchRetainedBytes: 8 * MIB,
  /** A range of so many keys at most is deleted key by key; a larger one leaves a mark that later reads pay for. */
  storePointDeletes: 256,
  /** Changes of term that a region's log remembers; older terms are read from the store. */
  logTermRuns: 256,
  /** Forgotten log entries that one write deletes. */
  logDeletesPerBatch: 4096,
  /** Records of meta read at once. */
  recordsPerPage: 1024,

  // --- exactly once -----------------------------------------------------------------------------------------------
  /** Sessions that one region remembers; the one that wrote longest ago is forgotten first. */
  sessionsPerRegion: 1024,
  /** How far a session's sequence may run ahead of its lowest unanswered call. */
  sessionWindow: 65_536,
  /** Bounds of the ranges that one session's range deletes were of, in one region; the oldest are forgotten first. */
  sessionDeletedBytes: 64 * KIB,

  // --- a client ---------------------------------------------------------------------------------------------------
  /** Calls that one client may have begun and not ended. */
  clientPendingCalls: 131_072,
  clientPendingBytes: 64 * MIB,
  /** Frames to one worker that are sent and not answered; calls gather behind them, which is what makes batches. */
  clientInflightFrames: 2,
  /** With so many calls on their way to a worker one frame at a time makes the best batches. */
  clientBusyCalls: 64,
  /** Full frames do not wait for answers up to so many bytes to one worker. */
  clientInflightBytes: 4 * MIB,
  /** A frame that is unanswered for so long stops holding back the next. */
  clientFramePatienceMs: 75,
  /** Requests given up on whose late answer would still be taken. */
  clientLateRequests: 4096,
  /** Requests of the JSON service that one node works on at once. */
  serviceRequests: 1024,
  /** Regions in one answer to a question for routes; more come in further pages. */
  routesPageBytes: 512 * KIB,
  /** Regions in one client's route cache. */
  clientRoutes: 100_000,

  // --- placement --------------------------------------------------------------------------------------------------
  /** Peers of one region, those on their way in or out included. */
  peersPerRegion: 8,
  /** Labels that keep replicas apart, and labels of one node. */
  spreadLabels: 4,
  labelsPerNode: 16,
  /** Longest name and value of a label. */
  labelChars: 64,
  /** Operators that run at once. */
  placementOperators: 65_536,
  /** Operators that begin in one round: deciding holds up whatever else placement has to do. */
  placementStartsPerRound: 1_024,
  /** Entries that the operator log keeps. */
  operatorLogEntries: 4_096,
  /** Entries of one answer about regions, operators or their log, and bytes of its lists; more come in further pages. */
  placementListEntries: 1_000,
  placementListBytes: 384 * KIB,
  /** Descriptors that one round keeps durably, and bytes of one write of them. */
  keptDescriptors: 1_024,
  keptDescriptorBytes: 384 * KIB,
  /** Regions that one message of a node reports, and bytes of it. */
  reportedRegions: 256,
  reportBytes: 512 * KIB,
  /** Regions that one round looks over, whether or not something is known to be wrong with them. */
  patrolledRegions: 4_096,
  /** Entries of one node's gossip, and bytes of one message of it. */
  gossipEntries: 1_000_000,
  gossipMessageBytes: 64 * KIB,
} as const;

/** Time-outs that are defaults of options rather than bounds. */
export const DEFAULTS = {
  /** How long a call may take, retries included. */
  timeoutMs: 10_000,
  /** How long one attempt may go unanswered before another peer is asked. */
  attemptTimeoutMs: 1_000,
  /** Shortest election time-out; each wait is drawn from [1, 2) times it. */
  electionTimeoutMs: 800,
  heartbeatMs: 150,
  /** A worker's timer. */
  tickMs: 50,
  /** A region without work for so long goes to sleep. */
  hibernateAfterMs: 5_000,
  /** Each region is checked for differences between its replicas so often. */
  consistencyCheckMs: 60 * 60_000,
  /** Regions of user keys at bootstrap: there will be more where there is data or traffic. */
  regions: 1,
  /** What one node sends of snapshots, at most, in a second. */
  snapshotBytesPerSecond: 64 * MIB,
  /** See bench/README.md for what it costs and saves. */
  snapshotCompression: false,
  /** How much faster or slower another node's clock may run: a tenth. */
  maxClockDrift: 0.1,
} as const;
