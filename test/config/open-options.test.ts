import { parseOpenOptions } from '../../engine/config.ts';
import { InvalidConfig } from '../../rpc/wire/errors.ts';
import { assert, suite } from '../harness.ts';

const test = suite('open options');

const cluster = { dataDir: '/data', cluster: 'c', nodeId: 2, initialNodes: [3, 1, 2], nats: 'nats://127.0.0.1:4222' };

test('a data directory alone is a single node without a broker', () => {
  const config = parseOpenOptions({ dataDir: '/data' });
  assert.is(config.nodeId, 1);
  assert.equal(config.initialNodes, [1]);
  assert.equal(config.nats, []);
  assert.ok(config.workers >= 1);
  assert.ok(config.heartbeatMs * 2 < config.electionTimeoutMs);
});

test('a cluster node keeps what it is given, its peers in order', () => {
  const config = parseOpenOptions({ ...cluster, nats: ['a:1', 'tls://b:2'], workers: 3, regions: 7, metricsPort: 0 });
  assert.equal(config.initialNodes, [1, 2, 3]);
  assert.equal(config.nats, ['a:1', 'tls://b:2']);
  assert.is(config.workers, 3);
  assert.is(config.regions, 7);
  assert.is(config.metricsPort, 0);
});

test('defaults follow a short election time-out', () => {
  const config = parseOpenOptions({ ...cluster, electionTimeoutMs: 40 });
  assert.ok(config.heartbeatMs < 20);
  assert.ok(config.tickMs <= config.heartbeatMs);
});

test('split keys say how many regions there are', () => {
  const config = parseOpenOptions({ dataDir: '/data', splitKeys: ['a', Uint8Array.of(0x62)] });
  assert.is(config.regions, 3);
  assert.is(config.splitKeys?.length, 2);
});

test('a node that joins names no initial nodes, and says where it is', () => {
  const labels = { zone: 'a', rack: 'r-1' };
  const config = parseOpenOptions({ ...cluster, initialNodes: undefined, join: true, labels });
  assert.equal(config.initialNodes, []);
  assert.equal(config.labels, labels);
});

const invalid: readonly (readonly [what: string, options: unknown, field: string])[] = [
  ['no object', 'x', 'options'],
  ['no options', undefined, 'options'],
  ['an unknown option', { ...cluster, electionTimoutMs: 5 }, 'electionTimoutMs'],
  ['no data directory', { cluster: 'c' }, 'dataDir'],
  ['an empty data directory', { dataDir: '' }, 'dataDir'],
  ['a broker without a cluster name', { ...cluster, cluster: undefined }, 'cluster'],
  ['a cluster name that is no subject token', { ...cluster, cluster: 'a.b' }, 'cluster'],
  ['a cluster name with a wildcard', { ...cluster, cluster: '*' }, 'cluster'],
  ['an over-long cluster name', { ...cluster, cluster: 'c'.repeat(65) }, 'cluster'],
  ['a broker without a node id', { ...cluster, nodeId: undefined }, 'nodeId'],
  ['node id 0', { ...cluster, nodeId: 0 }, 'nodeId'],
  ['a broken node id', { ...cluster, nodeId: 1.5 }, 'nodeId'],
  ['a node id beyond what is exact', { ...cluster, nodeId: 2 ** 53 }, 'nodeId'],
  ['a broker without initial nodes', { ...cluster, initialNodes: undefined }, 'initialNodes'],
  ['to join and to begin with others', { ...cluster, join: true }, 'join'],
  ['to join without a broker', { dataDir: '/data', join: true }, 'join'],
  ['to join, perhaps', { ...cluster, join: 'yes' }, 'join'],
  ['labels that are no object', { dataDir: '/data', labels: 'zone=a' }, 'labels'],
  ['a label that is no text', { dataDir: '/data', labels: { zone: 1 } }, 'labels'],
  ['a label with a space', { dataDir: '/data', labels: { 'my zone': 'a' } }, 'labels'],
  ['initial nodes without this one', { ...cluster, initialNodes: [1, 3] }, 'initialNodes'],
  ['a node twice', { ...cluster, initialNodes: [1, 2, 2] }, 'initialNodes'],
  ['no initial nodes', { ...cluster, initialNodes: [] }, 'initialNodes'],
  ['NaN among the initial nodes', { ...cluster, initialNodes: [2, NaN] }, 'initialNodes'],
  ['a hole among the initial nodes', { ...cluster, initialNodes: [2, undefined] }, 'initialNodes'],
  ['other nodes without a broker', { ...cluster, nats: undefined }, 'initialNodes'],
  ['no brokers', { ...cluster, nats: [] }, 'nats'],
  ['a broker over HTTP', { ...cluster, nats: 'http://a' }, 'nats'],
  ['a broker that is no address', { ...cluster, nats: 'nats://' }, 'nats'],
  ['0 workers', { ...cluster, workers: 0 }, 'workers'],
  ['NaN workers', { ...cluster, workers: NaN }, 'workers'],
  ['more workers than there may be', { ...cluster, workers: 65 }, 'workers'],
  ['0 regions', { ...cluster, regions: 0 }, 'regions'],
  ['infinite regions', { ...cluster, regions: Infinity }, 'regions'],
  ['regions as text', { ...cluster, regions: '48' }, 'regions'],
  ['regions that contradict the split keys', { ...cluster, regions: 3, splitKeys: ['a'] }, 'regions'],
  ['split keys out of order', { ...cluster, splitKeys: ['b', 'a'] }, 'splitKeys'],
  ['a split key twice', { ...cluster, splitKeys: ['a', 'a'] }, 'splitKeys'],
  ['an empty split key', { ...cluster, splitKeys: [''] }, 'splitKeys'],
  ['an over-long split key', { ...cluster, splitKeys: ['k'.repeat(8193)] }, 'splitKeys'],
  [
    'a heartbeat at half the election time-out',
    { ...cluster, electionTimeoutMs: 200, heartbeatMs: 100 },
    'heartbeatMs',
  ],
  ['a heartbeat above the election time-out', { ...cluster, electionTimeoutMs: 200, heartbeatMs: 300 }, 'heartbeatMs'],
  ['heartbeat 0', { ...cluster, heartbeatMs: 0 }, 'heartbeatMs'],
  ['a tick above the heartbeat', { ...cluster, heartbeatMs: 50, tickMs: 60 }, 'tickMs'],
  ['an election time-out of NaN', { ...cluster, electionTimeoutMs: NaN }, 'electionTimeoutMs'],
  ['a negative election time-out', { ...cluster, electionTimeoutMs: -800 }, 'electionTimeoutMs'],
  ['a clock drift of a half', { ...cluster, maxClockDrift: 0.5 }, 'maxClockDrift'],
  ['a port out of range', { ...cluster, metricsPort: 65_536 }, 'metricsPort'],
  ['an unknown log level', { ...cluster, logLevel: 'loud' }, 'logLevel'],
  ['a logger without methods', { ...cluster, logger: {} }, 'logger'],
];
for (const [what, options, field] of invalid) {
  test(`${what} is refused in one line that names ${field}`, () => {
    let thrown: unknown;
    try {
      parseOpenOptions(options);
    } catch (error) {
      thrown = error;
    }
    assert.instance(thrown, InvalidConfig);
    const { message, details } = thrown as InvalidConfig;
    assert.is(details.field, field);
    assert.ok(message.startsWith(`${field}: `), message);
    assert.not.match(message, '\n');
    assert.ok(message.length < 200, message);
  });
}
