/**
 * The consensus core of one replica: Raft as in Ongaro's thesis, with the behaviour of etcd-io/raft where the thesis
 * leaves it open. It does nothing by itself. What happened comes in as calls, with the time as an argument; what is to
 * be done comes out as a `Ready`. The same calls give the same answers.
 *
 * **What the driver must do.** One thread calls a node. A turn is:
 *
 * 1. `step`, `propose`, `readIndex`, `tick` and the rest, any number of them, in any order.
 * 2. If `hasReady()`: `ready(nowMs)`. It is a promise to do all of the following, in this order.
 * 3. Send `messages`. They may leave before the disk is asked.
 * 4. Install `snapshot`, if there is one: its data takes the place of all applied data, the log is empty and begins behind
 *    its index, and its configuration and index are what is applied. One atomic write, or restartable; it may take many
 *    turns. What was handed out to be applied before is finished, or dropped, first.
 *    Write `entries` (the first replaces everything at and above its index) and `hardState` in one atomic write; sync it
 *    if `mustSync`. The LogReader answers from this write on.
 * 5. If there were entries: `persisted(index, term)` of the last of them, or of the snapshot if it came without, after the
 *    sync and not before.
 * 6. Send `durableMessages`. They are acknowledgements and votes: sent earlier, a crash would break them.
 * 7. Apply `committed` in order, then `appliedTo(index, term)` of the last. Serve each of `readStates` once its index is
 *    applied. For an entry of kind confChange see below.
 * 8. `persisted` may have committed something: `hasReady()` again, now or in the next turn.
 *
 * One write is out at a time: `ready()` throws while the entries of the last Ready are not persisted. Applying may take
 * longer: later Readies hand out what follows, and `appliedTo` says how far it has come. Messages need not arrive, nor in
 * order, nor once. Steps and proposals may come between `ready()` and `persisted()`; a driver that finishes a Ready before
 * it takes the next message is just as right. A crash may lose any Ready that was not synced, but of two synced writes
 * never the older alone.
 *
 * **The membership** is what is applied. `proposeConfChange` takes the driver's encoding of a `ConfChange`; an entry of kind
 * confChange that has no data leaves a joint configuration (`{ mode: 'leave', changes: [] }`), and is also proposed by the
 * leader itself. Where such an entry is applied, on every replica, the driver calls `applyConfChange`, writes the
 * configuration that it returns atomically with the applied index, and reports `appliedTo` afterwards. A change that
 * the driver refuses there (an old epoch), or that `applyConfChange` throws at, is skipped by all replicas alike.
 * - Start again with the configuration at the applied index. The first peers of a group start with the same voters; one
 *   that is added later starts without any, and its leader begins with a snapshot.
 * - The id of a peer that lost its log or its hard state is never used again.
 * - A peer that is removed keeps answering until the others have applied it: an older majority may need its vote. To remove
 *   a leader, transfer its leadership first; else the group waits for an election time-out.
 *
 * **Snapshots.** A message of kind snapshot, in `messages` or `durableMessages`, asks the driver to send its applied data
 * along. Its `index`, `logTerm` and `membership` say what is applied at this moment; they must be the data's, so a driver
 * that reads its data later sends what is then applied. The receiving driver steps the message when it has the data, and
 * keeps that until the Ready that asks for it, or drops it if none does. The sending driver calls `reportSnapshot` for each
 * one. It calls `compactTo` before the log forgets entries, and never beyond what is applied.
 *
 * **Hibernation** (`hibernateAfterMs`). A peer with `isHibernating` need not be ticked. A message of a member, a proposal,
 * a read, a transfer, `wake` and `reportNodeLost` end it. A leader needs the consent of all peers but those that it is told to `excuse`. Nobody watches the leader meanwhile: the driver
 * watches nodes, and calls `reportNodeLost` for each peer that a lost node had. The leader's lease is not renewed.
 *
 * **The time** is a monotonic clock in milliseconds, fractions allowed. Leases are promises about it:
 * - the time given to `step` is read after the message has arrived, not before;
 * - the time given to `ready` is read before its messages leave, not after;
 * - after a stall, whatever had arrived is stepped before `tick` is called: a late timer proves nothing;
 * - a read under `hasLease` that could have stalled asks again, with a fresh time, before it is answered.
 *
 * **What the caller answers.** A proposal is done when its (index, term) is committed; when that index is committed with
 * another term, it was dropped. When `role` or `term` changes, reads that have no read state yet are lost and fail.
 * Entry data is kept by reference and never changed: a caller that hands in part of a network buffer gives it away.
 */

export { answerOfNobody } from './follower.ts';
export { changeMembership, isJoint, isMember, votersOnly } from './membership.ts';
export { RaftNode } from './raft-node.ts';
export { Quorum } from './quorum.ts';
export type { TallyResult } from './quorum.ts';
export type * from './types.ts';
