import { assert, suite } from '../harness.ts';
import { Random } from '../../bench/random.ts';
import {
  Gossip,
  decodeGossip,
  encodeGossip,
  type GossipEnvelope,
  type GossipOptions,
} from '../../engine/placement/index.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';

const test = suite('gossip', { timeoutMs: 180_000 });

interface Net {
  readonly nodes: Map<number, Gossip>;
  /** One tick of everybody; messages arrive within it. */
  round(): void;
  roundsUntil(holds: () => boolean, most: number): number;
  readonly stats: { messages: number; largestBytes: number; bytes: number };
  loss: number;
  nowMs: number;
}

function makeNet(count: number, options: Partial<GossipOptions> & { readonly seed?: number } = {}): Net {
  const random = new Random(options.seed ?? 1);
  const nodes = new Map<number, Gossip>();
  const ids = Array.from({ length: count }, (_, index) => index + 1);
  for (const nodeId of ids) {
    const gossip = new Gossip({ random: () => random.next(), ...options, nodeId });
    gossip.setPeers(ids);
    nodes.set(nodeId, gossip);
  }
  const net: Net = {
    nodes,
    loss: 0,
    nowMs: 0,
    stats: { messages: 0, largestBytes: 0, bytes: 0 },
    round() {
      net.nowMs += 1_000;
      const flying: (GossipEnvelope & { from: number })[] = [];
      for (const [from, gossip] of nodes) for (const sent of gossip.tick(net.nowMs)) flying.push({ from, ...sent });
      for (let next = flying.pop(); next; next = flying.pop()) {
        const bytes = encodeGossip(next.message);
        net.stats.messages += 1;
        net.stats.bytes += bytes.length;
        net.stats.largestBytes = Math.max(net.stats.largestBytes, bytes.length);
        if (random.next() < net.loss) continue;
        const to = next.to;
        const receipt = nodes.get(to)?.receive(next.from, decodeGossip(bytes), net.nowMs);
        for (const reply of receipt?.replies ?? []) flying.push({ from: to, ...reply });
      }
    },
    roundsUntil(holds, most) {
      for (let round = 0; round < most; round += 1) {
        if (holds()) return round;
        net.round();
      }
      return holds() ? most : Number.POSITIVE_INFINITY;
    },
  };
  return net;
}

const text = (value: string): Uint8Array => Buffer.from(value);
const everybody = (net: Net, holds: (gossip: Gossip) => boolean): boolean => [...net.nodes.values()].every(holds);
const knows = (net: Net, kind: 'node' | 'region', id: number, value: string) => (gossip: Gossip) =>
  Buffer.from(gossip.get(kind, id, net.nowMs)?.value ?? []).toString() === value;

test('a rumour reaches hundreds of nodes in a number of rounds that grows with their logarithm', () => {
  const rounds = [32, 128, 512].map((count) => {
    const net = makeNet(count);
    net.nodes.get(1)?.put('region', 7, [1, 1, 5], text('led by 3'), 0);
    return net.roundsUntil(() => everybody(net, knows(net, 'region', 7, 'led by 3')), 100);
  });
  rounds.forEach((taken, index) => assert.ok(taken <= 2 * Math.log2(32 * 4 ** index) + 4, rounds.join(', ')));
});

test('a rumour reaches everybody although a third of all messages is lost', () => {
  const net = makeNet(300);
  net.loss = 0.33;
  net.nodes.get(17)?.put('node', 17, [1, 1, 0], text('alive'), 0);
  const rounds = net.roundsUntil(() => everybody(net, knows(net, 'node', 17, 'alive')), 200);
  assert.ok(rounds <= 4 * Math.log2(300), `${rounds} rounds`);
});

test('a rumour that everybody knows is told no more', () => {
  const net = makeNet(100, { antiEntropyEvery: 1_000_000 });
  net.nodes.get(1)?.put('region', 7, [1, 1, 5], text('x'), 0);
  net.roundsUntil(() => false, 60);
  const { messages } = net.stats;
  net.round();
  assert.is(net.stats.messages, messages);
  assert.ok(messages < 100 * 30, `${messages} messages for one rumour among 100`);
});

test('anti-entropy alone brings everything to everybody, also what no rumour told', () => {
  const net = makeNet(200, { fanout: 0, antiEntropyEvery: 1 });
  for (const [nodeId, gossip] of net.nodes) gossip.put('node', nodeId, [1, nodeId, 0], text(`load ${nodeId}`), 0);
  net.loss = 0.1;
  const rounds = net.roundsUntil(() => everybody(net, (gossip) => gossip.size === 200), 100);
  assert.ok(rounds <= 2 * Math.log2(200) + 6, `${rounds} rounds`);
});

test('the newer version wins wherever both meet', () => {
  const net = makeNet(50);
  net.nodes.get(1)?.put('region', 7, [2, 1, 5], text('old term'), 0);
  net.nodes.get(2)?.put('region', 7, [2, 1, 6], text('new term'), 0);
  net.nodes.get(3)?.put('region', 7, [1, 9, 90], text('old epoch'), 0);
  assert.ok(net.roundsUntil(() => everybody(net, knows(net, 'region', 7, 'new term')), 50) < 50);
  assert.is(net.nodes.get(9)?.put('region', 7, [2, 1, 5], text('late'), 0), false);
});

test('a node that comes with nothing learns 10,000 regions in small messages', () => {
  const net = makeNet(3);
  const value = (id: number): Uint8Array =>
    text(`region ${id} is led by node ${id % 3}, peers 1, 2 and 3, from key ${id} on`);
  for (const nodeId of [1, 2]) {
    for (let id = 1; id <= 10_000; id += 1) net.nodes.get(nodeId)?.put('region', id, [1, 1, 5], value(id), 0);
  }
  net.roundsUntil(() => false, 200);
  assert.ok(everybody(net, (gossip) => gossip.size === 10_000));
  assert.ok(net.stats.largestBytes <= LIMITS.gossipMessageBytes, `${net.stats.largestBytes}`);
  const quiet = net.stats.bytes;
  for (let round = 0; round < 40; round += 1) net.round();
  const perNode = (net.stats.bytes - quiet) / 3 / 40;
  assert.ok(perNode < 8 * 1024, `${perNode} bytes a node and tick when there is nothing to say`);
});

test('what is no more stays away, although a node that slept still had it', () => {
  const net = makeNet(20);
  net.nodes.get(1)?.put('region', 7, [3, 1, 5], text('there'), 0);
  net.roundsUntil(() => everybody(net, knows(net, 'region', 7, 'there')), 50);
  const sleeper = net.nodes.get(20) as Gossip;
  net.nodes.delete(20);
  net.nodes.get(2)?.put('region', 7, [4, 0, 0], null, net.nowMs);
  net.roundsUntil(() => everybody(net, (gossip) => gossip.get('region', 7, net.nowMs)?.value === null), 50);
  net.nodes.set(20, sleeper);
  const rounds = net.roundsUntil(
    () => everybody(net, (gossip) => gossip.get('region', 7, net.nowMs)?.value === null),
    50,
  );
  assert.ok(rounds < 50);
});

test('that something is no more is forgotten everywhere after a while, and comes back from nowhere', () => {
  const net = makeNet(20, { rememberGoneMs: 60_000 });
  net.nodes.get(1)?.put('region', 7, [4, 0, 0], null, 0);
  for (let round = 0; round < 90; round += 1) net.round();
  assert.ok(everybody(net, (gossip) => gossip.size === 0));
});

test('the same seed gives the same gossip', () => {
  const run = (): number => {
    const net = makeNet(60, { seed: 5 });
    for (const [nodeId, gossip] of net.nodes) gossip.put('node', nodeId, [1, 1, 0], text('x'), 0);
    for (let round = 0; round < 20; round += 1) net.round();
    return net.stats.bytes;
  };
  assert.is(run(), run());
});

test('bytes that are no gossip end in MalformedRequest, and never in anything else', () => {
  const net = makeNet(2);
  for (let id = 1; id < 50; id += 1) net.nodes.get(1)?.put('region', id, [id, 1, 5], id % 3 ? text('value') : null, 0);
  const messages = net.nodes.get(1)?.tick(1_000) ?? [];
  const random = new Random(3);
  for (let round = 0; round < 3_000; round += 1) {
    const whole = Buffer.from(encodeGossip((messages[0] as GossipEnvelope).message));
    const bytes = whole.subarray(0, random.below(whole.length + 1));
    for (let change = 0; change < 3 && bytes.length > 0; change += 1)
      bytes[random.below(bytes.length)] = random.below(256);
    try {
      const message = decodeGossip(bytes);
      net.nodes.get(2)?.receive(1, message, 1_000);
    } catch (error) {
      assert.is((error as { code?: string }).code, 'MalformedRequest');
    }
  }
});

test('a full store keeps what it knows and takes nothing more', () => {
  const gossip = new Gossip({ nodeId: 1, random: () => 0.5, mostEntries: 10 });
  for (let id = 1; id <= 20; id += 1) gossip.put('region', id, [1, 1, 1], text('x'), 0);
  assert.is(gossip.size, 10);
  assert.ok(gossip.put('region', 1, [2, 1, 1], text('y'), 0));
});
