/**
 * How fast a snapshot is, held against a plain copy of the same data from one RocksDB to another in one thread, and what
 * it costs those who write meanwhile. Real processes; run by hand, on a machine that does nothing else:
 *
 *     node dist/test/region/measure-snapshot.js [--megabytes 128] [--value-bytes 128,4096] [--compression] [--foreground]
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { openRocks } from '../../engine/store/rocks-store.ts';
import { connect, type Client } from '../../rpc/client/index.ts';
import { Admin } from '../../tools/admin.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';

const AWAY = 3;
const POLL_MS = 20;
const BATCH = 64;
const WRITERS = 48;
const WINDOW_MS = 8_000;
const UNLIMITED = 2 ** 34;

const { values: flags } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '128' },
    'value-bytes': { type: 'string', default: '128,4096' },
    compression: { type: 'boolean', default: false },
    foreground: { type: 'boolean', default: false },
    rate: { type: 'string', default: '' },
  },
});
const megabytes = Number(flags.megabytes);

interface Counters {
  readonly [field: string]: number;
}

function key(at: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(Math.imul(at, 0x9e37_79b1) >>> 0, 0);
  bytes.writeUInt32BE(at, 4);
  return bytes;
}

/** Half of it is random, half of it is not: what shrinks, shrinks to about the half. */
function value(size: number, at: number): Buffer {
  const bytes = Buffer.alloc(size, 'text');
  for (let i = 0; i + 4 <= size / 2; i += 4) bytes.writeUInt32LE(Math.imul(at + i, 0x85eb_ca6b) >>> 0, i);
  return bytes;
}

async function fill(client: Client, count: number, valueBytes: number): Promise<void> {
  let next = 0;
  const write = async (): Promise<void> => {
    while (next < count) {
      const from = next;
      next += BATCH;
      const to = Math.min(count, from + BATCH);
      const puts = Array.from({ length: to - from }, (_, i) => client.put(key(from + i), value(valueBytes, from + i)));
      await Promise.all(puts);
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, write));
}

async function counters(admin: Admin, nodeId: number): Promise<Counters | undefined> {
  const nodes = await admin.nodes().catch(() => []);
  return nodes.find((node) => node.nodeId === nodeId) as Counters | undefined;
}

/** Puts of keys that are there, until it is told to stop; answers how many were acknowledged a second. */
function hammer(client: Client, count: number, valueBytes: number): { stop(): Promise<number> } {
  const startedMs = performance.now();
  let done = 0;
  let stopped = false;
  const write = async (id: number): Promise<void> => {
    for (let at = id; !stopped; at += 512) {
      await client.put(key(at % count), value(valueBytes, at), { timeoutMs: 20_000 });
      done++;
    }
  };
  const running = Array.from({ length: 512 }, (_, id) => write(id));
  return {
    stop: async () => {
      const perSecond = (done * 1000) / (performance.now() - startedMs);
      stopped = true;
      await Promise.all(running);
      return perSecond;
    },
  };
}

async function window(client: Client, count: number, valueBytes: number, ms = WINDOW_MS): Promise<number> {
  const load = hammer(client, count, valueBytes);
  await pause(ms);
  return load.stop();
}

/** The node is started and gets its snapshot; how long that took, from its head to the open replica, as the node says. */
async function catchUp(cluster: LocalCluster): Promise<{ transferMs: number; installMs: number }> {
  const node = cluster.node(AWAY);
  await node.start();
  for (;;) {
    const lines = readFileSync(node.logPath, 'utf8').split('\n');
    const line = lines.findLast((text) => text.includes('a snapshot was installed') && !text.includes('"regionId":1,'));
    if (line !== undefined) return JSON.parse(line) as { transferMs: number; installMs: number };
    await pause(POLL_MS);
  }
}

async function plainCopy(fromDir: string): Promise<{ seconds: number; bytes: number; entries: number }> {
  const dir = mkdtempSync(join(tmpdir(), 'mraft-copy-'));
  const [from, to] = await Promise.all([openRocks({ dir: join(fromDir, 'rocksdb') }), openRocks({ dir })]);
  const [source, target] = [from.store(), to.store()];
  const startedMs = performance.now();
  const cursor = source.openCursor('data', { limit: 8_192, maxBytes: 192 * 1024 });
  const batch = target.createBatch();
  let [bytes, entries] = [0, 0];
  for (let page = cursor.next(); ; page = cursor.next()) {
    for (const entry of page.entries) {
      batch.put('data', entry.key, entry.value);
      bytes += entry.key.length + entry.value.length;
      entries++;
    }
    target.write(batch, { sync: !page.more });
    if (!page.more) break;
  }
  const seconds = (performance.now() - startedMs) / 1000;
  cursor.close();
  await Promise.all([from.close(), to.close()]);
  rmSync(dir, { recursive: true, force: true });
  return { seconds, bytes, entries };
}

async function measure(valueBytes: number): Promise<void> {
  const rate = flags.rate ? Number(flags.rate) : flags.foreground ? 0 : UNLIMITED;
  const args = [
    ...(rate ? ['--snapshot-bytes-per-second', String(rate)] : []),
    ...(flags.compression ? ['--snapshot-compression'] : []),
  ];
  const cluster = await startLocalCluster({ regions: 1, workers: 1, serveArgs: () => args });
  const client = await connect({ servers: cluster.url, cluster: cluster.cluster });
  const admin = await Admin.connect({ cluster: cluster.cluster, nats: cluster.url, timeoutMs: 5_000 });
  const count = Math.ceil((megabytes * 2 ** 20) / (valueBytes + 16));
  try {
    await cluster.node(AWAY).kill9();
    await fill(client, count, valueBytes);
    await pause(2_000);
    let report = `${count} keys of ${valueBytes} bytes: `;
    const before = flags.foreground ? await window(client, count, valueBytes) : 0;
    const load = flags.foreground ? hammer(client, count, valueBytes) : undefined;
    const { transferMs, installMs } = await catchUp(cluster);
    const tookMs = transferMs + installMs;
    const during = await load?.stop();
    if (flags.foreground) {
      await pause(3_000);
      const after = await window(client, count, valueBytes);
      report += `puts/s with two nodes ${before.toFixed(0)}, during the snapshot (${(tookMs / 1000).toFixed(1)} s) ${during?.toFixed(0)}, with three nodes ${after.toFixed(0)}; `;
    }
    const sent = (await Promise.all([1, 2].map((id) => counters(admin, id)))).reduce(
      (sum, node) => sum + (node?.['snapshotBytesSent'] ?? 0),
      0,
    );
    await admin.close();
    await client.close();
    await Promise.all(cluster.nodes.map((node) => node.term()));
    const copy = await plainCopy(cluster.node(AWAY).dataDir);
    const perSecond = copy.bytes / 1e6 / (tookMs / 1000);
    const copied = copy.bytes / 1e6 / copy.seconds;
    report += `transfer ${(transferMs / 1000).toFixed(2)} s, install ${(installMs / 1000).toFixed(2)} s; snapshot ${perSecond.toFixed(1)} MB/s (${(sent / 1e6).toFixed(0)} MB on the wire), plain copy ${copied.toFixed(1)} MB/s: ${((100 * perSecond) / copied).toFixed(0)} %`;
    console.log(report);
  } finally {
    await cluster.stop();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

for (const valueBytes of flags['value-bytes'].split(',')) await measure(Number(valueBytes));
