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
 * 4. Write `entries` (the first replaces everything at and above its index) and `hardState` in one atomic write; sync it
 *    if `mustSync`. The LogReader answers from this write on.
 * 5. If there were entries: `persisted(index, term)` of the last of them, after the sync and not before.
 * 6. Send `durableMessages`. They are acknowledgements and votes: sent earlier, a crash would break them.
 * 7. Apply `committed` in order, then `appliedTo(index)` of the last. Serve each of `readStates` once its index is applied.
 * 8. `persisted` may have committed something: `hasReady()` again, now or in the next turn.
 *
 * One Ready is out at a time: `ready()` throws while the entries of the last one are not persisted. Messages need not
 * arrive, nor in order, nor once. Steps and proposals may come between `ready()` and `persisted()`; a driver that
 * finishes a Ready before it takes the next message is just as right. A crash may lose any Ready that was not synced,
 * but of two synced writes never the older alone.
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

export { RaftNode } from './raft-node.ts';
export { Quorum } from './quorum.ts';
export type { TallyResult } from './quorum.ts';
export type * from './types.ts';
