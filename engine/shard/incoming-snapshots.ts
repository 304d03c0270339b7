/**
 * The snapshots that one worker receives, one a region at most: announced by their head, taken chunk by chunk, staged, and
 * installed a little between any two turns.
 */

import { mraft } from '../../rpc/wire/codec.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import {
  DeadlineExceeded,
  DiskFull,
  SnapshotCorrupt,
  SnapshotRefused,
  asMraftError,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { SnapshotChunk } from '../region/snapshot-chunk.ts';
import { SnapshotInstall, dropStaging, sweepStaging } from '../region/snapshot-install.ts';
import {
  SnapshotReceiver,
  isIntact,
  readHead,
  sameSnapshot,
  type ReceivedHead,
  type SnapshotName,
} from '../region/snapshot-receiver.ts';
import type { SnapshotAck } from '../region/snapshot-sender.ts';
import type { WriteBatch } from '../store/port.ts';
import type { RegionRecord } from '../store/region-records.ts';
import type { ReceivingHost, SnapshotSurroundings } from './snapshot-ports.ts';

interface Incoming {
  /** Undefined: it was begun before a restart, and nobody waits for it. */
  readonly receiver: SnapshotReceiver | undefined;
  claim: 'asked' | 'granted' | 'refused';
  /** Something came that is to be answered, when what it brought is staged. */
  owesAck: boolean;
  /** It shows that something is missing. */
  sawGap: boolean;
  install: SnapshotInstall | undefined;
  readonly beganMs: number;
  installingMs: number;
}

const GAP: SnapshotAck = { next: 0, resend: true, stage: mraft.SnapshotStage.RECEIVING };
const INSTALLED: SnapshotAck = { next: 0, resend: false, stage: mraft.SnapshotStage.INSTALLED };

export class IncomingSnapshots {
  readonly #around: SnapshotSurroundings;
  readonly #host: ReceivingHost;
  readonly #batch: WriteBatch;
  readonly #incoming = new Map<number, Incoming>();
  /** By region, the one that was installed last: its sender may ask again. */
  readonly #installed = new Map<number, SnapshotName>();
  /** The disk is full: nothing is staged or installed before the next tick. */
  #isHeldUp = false;

  constructor(around: SnapshotSurroundings, host: ReceivingHost) {
    this.#around = around;
    this.#host = host;
    this.#batch = around.store.createBatch();
  }

  get count(): number {
    return this.#incoming.size;
  }

  /** Regions that are being put in their place. */
  get installing(): number {
    let installing = 0;
    for (const { install } of this.#incoming.values()) if (install) installing++;
    return installing;
  }

  /** Whether one of such regions is under way. */
  some(matches: (regionId: number) => boolean): boolean {
    for (const regionId of this.#incoming.keys()) if (matches(regionId)) return true;
    return false;
  }

  /** Its replica is neither the old one nor the new one: it says nothing to anyone. */
  isInstalling(regionId: number): boolean {
    return this.#incoming.get(regionId)?.install !== undefined;
  }

  // --- a start -------------------------------------------------------------------------------------------------------

  /** Removes what a dead process had staged of the regions of this worker. */
  sweep(isHome: (regionId: number) => boolean): void {
    sweepStaging(this.#around.store, isHome);
  }

  /** Goes on with an install that an earlier process had begun. */
  resume(record: RegionRecord): void {
    const { regionId } = record.region;
    const { store, bootEpoch, writeSynced } = this.#around;
    const install = new SnapshotInstall(store, regionId, bootEpoch, writeSynced);
    this.#incoming.set(regionId, {
      receiver: undefined,
      claim: 'granted',
      owesAck: false,
      sawGap: false,
      install,
      beganMs: 0,
      installingMs: 0,
    });
    this.#host.ranges.claim(install.record, () => {});
  }

  // --- what comes in -------------------------------------------------------------------------------------------------

  onStep(step: mraft.SnapshotStep, fromNode: number, nowMs: number): void {
    const { regionId, snapshotId, sourceBoot, chunk, cancel } = step;
    const name = { fromNode, sourceBoot, snapshotId };
    const incoming = this.#incoming.get(regionId);
    const isKnown = incoming?.receiver !== undefined && sameSnapshot(incoming.receiver.name, name);
    if (cancel) {
      if (isKnown && !incoming.install) this.#drop(regionId);
    } else if (chunk) {
      const taken = chunk as mraft.SnapshotChunk;
      if (isKnown) this.#onChunk(incoming, taken, nowMs);
      else this.#onUnknown(regionId, name, taken, nowMs);
    }
  }

  #onChunk(incoming: Incoming, chunk: SnapshotChunk, nowMs: number): void {
    const verdict = incoming.receiver!.onChunk(chunk, nowMs);
    incoming.owesAck = true;
    if (verdict === 'taken') {
      this.#around.stats.snapshotBytesReceived += chunk.body.length;
      return;
    }
    this.#around.stats.snapshotChunksRefused++;
    incoming.sawGap ||= verdict !== 'repeated';
  }

  /** A chunk of a snapshot that is not under way here: the head of a new one, or of one that ended or never began. */
  #onUnknown(regionId: number, name: SnapshotName, chunk: SnapshotChunk, nowMs: number): void {
    const installed = this.#installed.get(regionId);
    if (installed && sameSnapshot(installed, name)) return this.#ack(regionId, name, INSTALLED);
    if (chunk.sequence !== 0 || !isIntact(name.snapshotId, chunk)) {
      this.#around.stats.snapshotChunksRefused++;
      return this.#ack(regionId, name, GAP);
    }
    try {
      const head = readHead(chunk);
      if (head.record.region.regionId !== regionId) throw new SnapshotCorrupt('a snapshot is of another region');
      this.#announce(name, chunk, head, nowMs);
    } catch (error) {
      const refusal = asMraftError(error);
      if (refusal instanceof SnapshotCorrupt) this.#around.stats.snapshotChunksRefused++;
      else if (!(refusal instanceof SnapshotRefused) && !(refusal instanceof DiskFull)) throw error;
      this.#abort(regionId, name, refusal);
    }
  }

  /** @throws SnapshotRefused, SnapshotCorrupt, DiskFull */
  #announce(name: SnapshotName, chunk: SnapshotChunk, head: ReceivedHead, nowMs: number): void {
    const { region } = head.record;
    const { regionId } = region;
    const other = this.#incoming.get(regionId);
    if (other && !this.#isOvertaken(other, head)) {
      throw new SnapshotRefused(`region ${regionId} is receiving another snapshot`, { regionId });
    }
    const admission = this.#host.admit(head, name.fromNode);
    if (admission === 'needless') {
      this.#host.acknowledge(head);
      return this.#ack(regionId, name, INSTALLED);
    }
    if (admission !== 'wanted') return this.#abort(regionId, name, admission);
    if (other) this.#drop(regionId);
    if (this.#incoming.size >= this.#around.limits.received) {
      throw new SnapshotRefused('this node receives as many snapshots as it may', { regionId });
    }
    dropStaging(this.#around.store, regionId);
    const receiver = new SnapshotReceiver(name, chunk, head, this.#around.codec, nowMs);
    const incoming: Incoming = {
      receiver,
      claim: 'asked',
      owesAck: true,
      sawGap: false,
      install: undefined,
      beganMs: nowMs,
      installingMs: 0,
    };
    this.#incoming.set(regionId, incoming);
    // Asked for first of all: a snapshot that cannot be installed need not travel.
    this.#host.ranges.claim(head.record, (isGranted) => {
      const isCurrent = this.#incoming.get(regionId) === incoming;
      if (isCurrent) incoming.claim = isGranted ? 'granted' : 'refused';
      else if (isGranted && !this.#incoming.has(regionId)) this.#host.ranges.release(regionId);
    });
  }

  /** A newer leader's snapshot takes the place of one that is still being received, as does a later one of the same. */
  #isOvertaken(other: Incoming, head: ReceivedHead): boolean {
    if (other.install || !other.receiver) return false;
    return head.message.term >= other.receiver.head.message.term;
  }

  // --- between turns -------------------------------------------------------------------------------------------------

  get hasWork(): boolean {
    if (this.#isHeldUp) return false;
    for (const { receiver, install, claim, owesAck } of this.#incoming.values()) {
      if (install || owesAck || claim === 'refused' || receiver?.error) return true;
      if (receiver && (receiver.hasChecked || (receiver.isComplete && claim === 'granted'))) return true;
    }
    return false;
  }

  /** Stages what came, answers for it, and does one step of each install. No turn is under way. */
  pump(nowMs: number): void {
    if (this.#incoming.size === 0 || this.#isHeldUp) return;
    for (const [regionId, incoming] of this.#incoming) {
      try {
        if (incoming.install) this.#goOn(incoming, incoming.install);
        else this.#progress(regionId, incoming, incoming.receiver!, nowMs);
      } catch (error) {
        if (!(error instanceof DiskFull)) throw error;
        this.#isHeldUp = true;
        if (!incoming.install) this.#giveUp(regionId, incoming.receiver!, error);
      }
    }
  }

  #progress(regionId: number, incoming: Incoming, receiver: SnapshotReceiver, nowMs: number): void {
    if (receiver.error) return this.#giveUp(regionId, receiver, receiver.error);
    if (incoming.claim === 'refused') {
      const error = new SnapshotRefused(`the range of region ${regionId} belongs to another region here`, { regionId });
      return this.#giveUp(regionId, receiver, error);
    }
    if (receiver.stage(this.#batch)) {
      incoming.owesAck = true;
      this.#around.store.write(this.#batch, { sync: false });
    }
    if (incoming.owesAck) {
      this.#ack(regionId, receiver.name, receiver.ack(incoming.sawGap));
      incoming.owesAck = false;
      incoming.sawGap = false;
    }
    if (receiver.isComplete && incoming.claim === 'granted') this.#begin(regionId, incoming, receiver, nowMs);
  }

  #begin(regionId: number, incoming: Incoming, receiver: SnapshotReceiver, nowMs: number): void {
    const { head, name } = receiver;
    // Its replica has gone on meanwhile.
    const admission = this.#host.admit(head, name.fromNode);
    if (admission === 'needless') {
      this.#host.acknowledge(head);
      this.#remember(regionId, name);
      this.#ack(regionId, name, INSTALLED);
      return this.#drop(regionId);
    }
    if (admission !== 'wanted') return this.#giveUp(regionId, receiver, admission);
    const { store, bootEpoch, writeSynced } = this.#around;
    const order = {
      head,
      chunks: receiver.stagedChunks,
      replaced: this.#host.regionOf(regionId),
      keepsLog: this.#host.keepsLog(head),
      boot: bootEpoch,
    };
    incoming.install = SnapshotInstall.begin(store, order, writeSynced);
    incoming.installingMs = nowMs;
    this.#host.close(regionId);
  }

  #goOn(incoming: Incoming, install: SnapshotInstall): void {
    const { receiver } = incoming;
    const { regionId } = install;
    if (incoming.owesAck && receiver) this.#ack(regionId, receiver.name, receiver.ack());
    incoming.owesAck = false;
    if (!install.step(LIMITS.snapshotInstallBytesPerTurn)) return;
    this.#incoming.delete(regionId);
    this.#around.stats.snapshotsInstalled++;
    this.#host.open(install.record, install.message);
    if (!receiver) return;
    this.#tell(incoming, receiver);
    this.#remember(regionId, receiver.name);
    this.#ack(regionId, receiver.name, INSTALLED);
  }

  #tell({ beganMs, installingMs }: Incoming, { regionId, head, name, receivedBytes }: SnapshotReceiver): void {
    const { fromNode } = name;
    const { index } = head.message;
    const installMs = this.#around.clock.nowMs() - installingMs;
    const transferMs = installingMs - beganMs;
    this.#host.onInstalled({ regionId, fromNode, index, sizeBytes: receivedBytes, transferMs, installMs });
  }

  tick(nowMs: number): void {
    this.#isHeldUp = false;
    for (const [regionId, { receiver, install }] of this.#incoming) {
      if (install || !receiver || nowMs - receiver.heardMs < LIMITS.snapshotIdleMs) continue;
      this.#giveUp(
        regionId,
        receiver,
        new DeadlineExceeded('the sender of a snapshot has fallen silent', { regionId }),
      );
    }
  }

  // --- how one ends --------------------------------------------------------------------------------------------------

  /** The region was removed from this node. */
  forget(regionId: number): void {
    if (this.#incoming.get(regionId)?.install === undefined) this.#drop(regionId);
  }

  #giveUp(regionId: number, receiver: SnapshotReceiver, error: MraftError): void {
    this.#around.stats.snapshotsFailed++;
    if (error instanceof SnapshotCorrupt) this.#host.onAnomaly(regionId, error);
    this.#abort(regionId, receiver.name, error);
    this.#drop(regionId);
  }

  /** Nothing of it is left. */
  #drop(regionId: number): void {
    if (!this.#incoming.delete(regionId)) return;
    this.#batch.clear();
    this.#host.ranges.release(regionId);
    try {
      dropStaging(this.#around.store, regionId);
    } catch (error) {
      // It is swept before the next snapshot of the region, or at the next start.
      if (!(error instanceof DiskFull)) throw error;
    }
  }

  #remember(regionId: number, name: SnapshotName): void {
    this.#installed.delete(regionId);
    this.#installed.set(regionId, name);
    if (this.#installed.size <= LIMITS.snapshotsRemembered) return;
    for (const oldest of this.#installed.keys()) {
      this.#installed.delete(oldest);
      return;
    }
  }

  #ack(regionId: number, { fromNode, snapshotId, sourceBoot }: SnapshotName, ack: SnapshotAck): void {
    this.#around.send(fromNode, { regionId, snapshotId, sourceBoot, ack });
  }

  #abort(regionId: number, { fromNode, snapshotId, sourceBoot }: SnapshotName, error: MraftError): void {
    this.#around.send(fromNode, { regionId, snapshotId, sourceBoot, abort: toWireError(error) });
  }
}
