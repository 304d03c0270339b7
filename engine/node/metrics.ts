/** A node's metrics for Prometheus: gathered from its workers when they are asked for, on the loopback address only. */

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import { InvalidConfig } from '../../rpc/wire/errors.ts';
import type { NodeStatus } from './status.ts';

type NumberField = { [K in keyof NodeStatus]: NodeStatus[K] extends number ? K : never }[keyof NodeStatus];

const COUNTERS: readonly (readonly [name: string, field: NumberField, help: string])[] = [
  ['mraft_turns_total', 'turns', 'Turns of all workers'],
  ['mraft_store_writes_total', 'storeWrites', 'Batches written to the store'],
  ['mraft_store_syncs_total', 'storeSyncs', 'Batches that were synced: fsyncs of the shared log'],
  ['mraft_store_written_bytes_total', 'storeWrittenBytes', 'Keys and values written to the store'],
  ['mraft_requests_total', 'requests', 'Requests of clients'],
  ['mraft_request_frames_total', 'requestFrames', 'Frames of clients'],
  ['mraft_error_responses_total', 'errorResponses', 'Requests answered with an error'],
  ['mraft_proposals_total', 'proposals', 'Commands proposed here'],
  ['mraft_entries_proposed_total', 'entriesProposed', 'Entries that the proposed commands were joined into'],
  ['mraft_entries_applied_total', 'entriesApplied', 'Entries applied'],
  ['mraft_point_reads_total', 'pointReads', 'Keys read'],
  ['mraft_scans_total', 'scans', 'Pages scanned'],
  ['mraft_peer_frames_sent_total', 'peerFramesSent', 'Frames sent to peers'],
  ['mraft_peer_frames_received_total', 'peerFramesReceived', 'Frames taken from peers'],
  ['mraft_peer_frames_refused_total', 'peerFramesRefused', 'Frames to peers that the connection did not take'],
  ['mraft_peer_bytes_sent_total', 'peerBytesSent', 'Bytes sent to peers'],
  ['mraft_snapshots_sent_total', 'snapshotsSent', 'Snapshots sent and installed'],
  ['mraft_snapshots_installed_total', 'snapshotsInstalled', 'Snapshots installed here'],
  ['mraft_snapshots_failed_total', 'snapshotsFailed', 'Snapshots given up, on their way out or in'],
  ['mraft_snapshot_bytes_sent_total', 'snapshotBytesSent', 'Bytes of chunks of snapshots sent'],
  ['mraft_snapshot_bytes_received_total', 'snapshotBytesReceived', 'Bytes of chunks of snapshots taken'],
  ['mraft_snapshot_chunks_resent_total', 'snapshotChunksResent', 'Chunks of snapshots sent again'],
  ['mraft_snapshot_chunks_refused_total', 'snapshotChunksRefused', 'Chunks out of order, repeated, damaged or unknown'],
  ['mraft_splits_total', 'splits', 'Splits of regions that were led here'],
  ['mraft_merges_total', 'merges', 'Merges into regions that were led here'],
  ['mraft_leader_transfers_total', 'transfers', 'Leaderships handed over on purpose'],
  ['mraft_wake_ups_total', 'wakeUps', 'Sleeping replicas that were woken'],
  ['mraft_nodes_lost_total', 'nodesLost', 'Times that a worker took another node for lost'],
  ['mraft_slots_moved_total', 'slotsMoved', 'Slots that were moved from one worker to another'],
  ['mraft_worker_restarts_total', 'workerRestarts', 'Worker threads started again after a crash'],
  ['mraft_anomalies_total', 'anomalies', 'Things that should not be and were contained'],
  ['mraft_differences_total', 'differences', 'Consistency checks that found a replica to differ from its leader'],
];

const GAUGES: readonly (readonly [name: string, field: NumberField, help: string])[] = [
  ['mraft_awake_regions', 'awake', 'Replicas on this node that do not sleep'],
  ['mraft_leaders', 'leaders', 'Regions led by this node'],
  ['mraft_regions_without_leader', 'leaderlessRegions', 'Regions of which this node knows no leader'],
  ['mraft_known_regions', 'knownRegions', 'Regions of the cluster that this node knows of'],
  ['mraft_placement_leader', 'placementLeads', 'Whether placement is led here'],
  ['mraft_workers', 'workers', 'Worker threads'],
  ['mraft_inbox_frames', 'inboxFrames', 'Frames that wait for a turn'],
];

export class MetricsServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Serves `/metrics` on 127.0.0.1; port 0 takes any free one. @throws InvalidConfig when the port is taken */
  static async start(port: number, readStatus: () => Promise<NodeStatus>): Promise<MetricsServer> {
    const registry = new Registry();
    collectDefaultMetrics({ register: registry });
    const refresh = defineMetrics(registry);
    const server = createServer((request, response) => {
      if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
        response.writeHead(404).end('metrics are at /metrics\n');
        return;
      }
      readStatus()
        .then((status) => {
          refresh(status);
          return registry.metrics();
        })
        .then(
          (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
          (error: Error) => response.writeHead(503).end(`${error.message}\n`),
        );
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) =>
        reject(
          new InvalidConfig(`metricsPort: 127.0.0.1:${port} cannot be used: ${cause.message}`, {
            field: 'metricsPort',
            cause,
          }),
        ),
      );
      server.listen(port, '127.0.0.1', resolve);
    });
    server.unref();
    return new MetricsServer(server);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** Metrics with a label: of each, the label's names, and what a status says for their values. */
interface LabelledMetric {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly type: 'counter' | 'gauge';
  readonly read: (
    status: NodeStatus,
  ) => readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];
}

const LABELLED: readonly LabelledMetric[] = [
  {
    name: 'mraft_regions',
    help: 'Replicas on this node, by phase',
    labelNames: ['phase'],
    type: 'gauge',
    read: ({ regions, merging, applying }) => [
      [{ phase: 'normal' }, regions - merging],
      [{ phase: 'merging' }, merging],
      [{ phase: 'applying' }, applying],
    ],
  },
  {
    name: 'mraft_snapshots_in_flight',
    help: 'Snapshots on their way, by direction',
    labelNames: ['direction'],
    type: 'gauge',
    read: ({ snapshotsSending, snapshotsReceiving }) => [
      [{ direction: 'out' }, snapshotsSending],
      [{ direction: 'in' }, snapshotsReceiving],
    ],
  },
  {
    name: 'mraft_dropped_total',
    help: 'Frames and messages dropped, by reason',
    labelNames: ['reason'],
    type: 'counter',
    read: ({ dropped }) => Object.entries(dropped).map(([reason, count]) => [{ reason }, count as number] as const),
  },
  {
    name: 'mraft_operators',
    help: 'Operators that run, by kind; where placement is led',
    labelNames: ['kind'],
    type: 'gauge',
    read: ({ placement }) => (placement?.running ?? []).map(({ kind, count }) => [{ kind }, count] as const),
  },
  {
    name: 'mraft_operators_ended_total',
    help: 'Operators that ended since placement was taken over, by kind and outcome; where placement is led',
    labelNames: ['kind', 'outcome'],
    type: 'counter',
    read: ({ placement }) =>
      (placement?.ended ?? []).map(({ kind, outcome, count }) => [{ kind, outcome }, count] as const),
  },
  {
    name: 'mraft_scheduler_paused',
    help: 'Whether a scheduler is paused; where placement is led',
    labelNames: ['scheduler'],
    type: 'gauge',
    read: ({ placement }) =>
      (placement?.schedulers ?? []).map(
        ({ name, pausedUntilMs }) => [{ scheduler: name }, pausedUntilMs === 0 ? 0 : 1] as const,
      ),
  },
];

/** Makes the metrics; the returned function sets them from a status. */
function defineMetrics(registry: Registry): (status: NodeStatus) => void {
  const registers = [registry];
  const counters = COUNTERS.map(([name, field, help]) => ({ metric: new Counter({ name, help, registers }), field }));
  const gauges = GAUGES.map(([name, field, help]) => ({ metric: new Gauge({ name, help, registers }), field }));
  const labelled = LABELLED.map(({ name, help, labelNames, type, read }) => {
    const options = { name, help, labelNames: [...labelNames], registers };
    return { metric: type === 'counter' ? new Counter(options) : new Gauge(options), read };
  });
  return (status) => {
    for (const { metric, field } of counters) {
      metric.reset();
      metric.inc(status[field]);
    }
    for (const { metric, field } of gauges) metric.set(status[field]);
    for (const { metric, read } of labelled) {
      metric.reset();
      for (const [labels, value] of read(status)) metric.inc(labels, value);
    }
  };
}
