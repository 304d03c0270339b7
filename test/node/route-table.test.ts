/** What a node knows of regions that split, merge, move and change leaders, whatever the order in which it hears of it. */

import { assert, suite } from '../harness.ts';
import { RouteTable } from '../../engine/node/route-table.ts';
import { encode, mraft } from '../../rpc/wire/codec.ts';
import type { Region } from '../../rpc/wire/region.ts';

const test = suite('route table');

let table: RouteTable;
test.before.each(() => {
  table = new RouteTable(1, 2);
});

function region(regionId: number, start: string, end: string, version = 1, confVersion = 1): Region {
  const peers = [1, 2, 3].map((nodeId) => ({ peerId: regionId * 10 + nodeId, nodeId, role: 'voter' as const }));
  return { regionId, startKey: Buffer.from(start), endKey: Buffer.from(end), epoch: { version, confVersion }, peers };
}

function known(): string[] {
  return [...table.routes()]
    .map(({ region: { regionId, startKey, endKey } }) => `${regionId}:${startKey.toString()}-${endKey.toString()}`)
    .sort();
}

test('a split is taken in, whichever half is heard of first', () => {
  const [left, right] = [region(2, '', 'm', 2), region(5, 'm', '', 2)];
  for (const halves of [
    [left, right],
    [right, left],
  ]) {
    table = new RouteTable(1, 2);
    table.learn(region(2, '', ''));
    for (const half of halves) table.learn(half);
    assert.equal(known(), ['2:-m', '5:m-']);
  }
});

test('what a merge made takes the place of both, and late news of the source bring nothing back', () => {
  const source = region(5, 'm', '', 3);
  table.learn(region(2, '', 'm', 4));
  table.learn(source);
  assert.ok(table.learn(region(2, '', '', 5)));
  assert.equal(known(), ['2:-']);
  assert.not(table.learn(source));
  assert.equal(known(), ['2:-']);
});

test('older epochs are passed over', () => {
  table.learn(region(2, '', 'm', 2, 4));
  assert.not(table.learn(region(2, '', '', 1, 9)));
  assert.not(table.learn(region(2, '', 'm', 2, 3)));
  assert.equal(known(), ['2:-m']);
  assert.ok(table.learn(region(2, '', 'm', 2, 5)));
});

test('the leader of the newest term is told, also when it was heard of before a new descriptor', () => {
  table.learn(region(2, '', ''), 3, 7);
  assert.not(table.noteLeader(2, 1, 6));
  table.learn(region(2, '', '', 1, 2), 1, 6);
  assert.is(table.route(2)?.leaderNodeId, 3);
  assert.is(table.route(2)?.region.epoch.confVersion, 2);
  assert.ok(table.noteLeader(2, 1, 8));
  assert.is(table.toWire().regions?.[0]?.leaderNodeId, 1);
});

test('who does not know the leader of a term does not make it unknown; whoever lost it does', () => {
  table.learn(region(2, '', ''), 3, 7);
  assert.not(table.learn(region(2, '', ''), 0, 7));
  assert.is(table.route(2)?.leaderNodeId, 3);
  assert.ok(table.noteLeader(2, 0, 7));
  assert.is(table.leaderlessRegions, 1);
});

/** Region 2 without this node. */
function moved(confVersion: number): Region {
  const whole = region(2, '', '', 1, confVersion);
  return { ...whole, peers: whole.peers.filter(({ nodeId }) => nodeId !== 1) };
}

test('a replica that was removed and hears nobody any more does not make the leader unknown', () => {
  table.learn(region(2, '', ''), 3, 7);
  table.learn(moved(2), 3, 7);
  assert.not(table.noteLeader(2, 0, 7));
  assert.not(table.noteLeader(2, 0, 8));
  assert.is(table.route(2)?.leaderNodeId, 3);
});

test('nor does the term in which it campaigned, unheard, before the news of its removal came', () => {
  table.learn(region(2, '', ''), 3, 7);
  table.noteLeader(2, 0, 8);
  table.learn(moved(2), 3, 7);
  assert.is(table.route(2)?.leaderNodeId, 3);
  assert.is(table.leaderlessRegions, 0);
});

test('the region of the system lies beside the users keys and is told apart', () => {
  table.learn(region(1, '', ''));
  table.learn(region(2, '', ''));
  assert.is(table.regionCount, 2);
  assert.equal(
    table.toWire('system').regions?.map((wire) => wire.regionId),
    [1],
  );
});

test('thousands of splits in any order end with a tiled key space', () => {
  table.learn(region(2, '', ''));
  const name = (at: number): string => String(at).padStart(5, '0');
  const halves: Region[] = [];
  // Each split cuts the last region: its left half ends at version n + 1, the right half is the next to be cut.
  for (let at = 1; at <= 2_000; at++) halves.push(region(at + 1, at === 1 ? '' : name(at - 1), name(at), at + 1));
  halves.push(region(2_002, name(2_000), '', 2_001));
  for (let i = 0; i < halves.length; i++) table.learn(halves[(i * 1_237) % halves.length]!);
  for (const half of halves) table.learn(half);
  const tiles = [...table.routes()].map((route) => route.region).sort((a, b) => Buffer.compare(a.startKey, b.startKey));
  assert.is(tiles.length, 2_001);
  tiles.forEach((tile, at) => assert.equal(Buffer.from(tile.endKey), Buffer.from(tiles[at + 1]?.startKey ?? '')));
});

test('workers of a node are remembered once they are heard, and peers make nodes known', () => {
  table.learn(region(2, '', ''));
  assert.is(table.workersOf(3), 0);
  table.noteNode(3, 4);
  table.noteNode(3, 0);
  assert.is(table.workersOf(3), 4);
  table.forgetNode(3);
  table.forgetNode(1);
  assert.equal(
    table.nodes.sort((a, b) => a - b),
    [1, 2],
  );
});

test('pages of the routes fit a frame, overlap nowhere and leave nothing out', () => {
  const key = (at: number): string => String(at).padStart(6, '0');
  table.learn(region(1, '', ''));
  for (let at = 0; at < 3_000; at++)
    table.learn(region(at + 2, at === 0 ? '' : key(at), at === 2_999 ? '' : key(at + 1)));
  const ids: number[] = [];
  let pages = 0;
  for (let fromKey: Uint8Array = new Uint8Array(0); pages === 0 || fromKey.length > 0; pages++) {
    const page = table.pageToWire(fromKey, 32 * 1024);
    assert.ok(encode(mraft.RoutesResponse, page).length < 40 * 1024);
    ids.push(...(page.regions ?? []).map((wire) => wire.regionId ?? 0));
    fromKey = page.nextKey ?? new Uint8Array(0);
  }
  assert.ok(pages > 5);
  assert.equal(
    ids.sort((a, b) => a - b),
    Array.from({ length: 3_001 }, (_, at) => at + 1),
  );
});
