/** Calls go on while the regions under them split and merge: no error, nothing left out, nothing done twice. */

import { DeadlineExceeded, EpochNotMatch, RegionMerging } from '../../rpc/wire/errors.ts';
import { containsKey } from '../../rpc/wire/region.ts';
import { assert, rejects, suite } from '../harness.ts';
import { FakeCluster, type Asked } from './fake-cluster.ts';
import { closeAll, hexOf, open, text } from './open-client.ts';

const test = suite('client: regions split and merge');
test.after.each(closeAll);

const LETTERS = 'abcdefghijklmnopqrstuvwxyz'.split('');

async function filled(
  splits: readonly string[] = ['m'],
): Promise<{ cluster: FakeCluster; client: ReturnType<typeof open> }> {
  const cluster = new FakeCluster(splits);
  const client = open(cluster);
  await Promise.all(LETTERS.map((letter) => client.put(letter, letter)));
  cluster.asked.length = 0;
  return { cluster, client };
}

/** Lets something happen before the n-th request from now on is served. */
function before(cluster: FakeCluster, n: number, happens: (asked: Asked) => void): void {
  let count = 0;
  cluster.intercept = (asked) => {
    if (++count === n) happens(asked);
    return undefined;
  };
}

test('a region that is merged away meanwhile is waited for, and then found where it went', async () => {
  const { cluster, client } = await filled();
  let refusals = 0;
  cluster.intercept = ({ request }) => {
    if (request.regionId !== 3) return undefined;
    if (++refusals <= 3) return new RegionMerging('wait');
    if (refusals === 4) cluster.merge(3, 2);
    return undefined;
  };
  await Promise.all([client.put('x', 'new', { timeoutMs: 1_000 }), client.get('y', { timeoutMs: 1_000 })]);
  assert.is(text(await client.get('x')), 'new');
  assert.is(cluster.effects.get(hexOf('x')), 2, 'once when it was filled, once now');
});

test('a server that knows into what a region was merged saves the client the question for routes', async () => {
  const { cluster, client } = await filled();
  const fetches = client.stats.routeFetches;
  cluster.merge(3, 2);
  cluster.intercept = ({ request }) =>
    request.regionId === 3 ? new EpochNotMatch('merged', { regions: [cluster.region(2)] }) : undefined;
  assert.is(text(await client.get('x')), 'x');
  assert.is(client.stats.routeFetches, fetches);
});

test('a write that was applied and not answered is not applied again by a half, nor by the whole', async () => {
  for (const change of ['split', 'merge'] as const) {
    const { cluster } = await filled();
    const client = open(cluster, { attemptTimeoutMs: 50 });
    let lost = 0;
    cluster.intercept = ({ request }) => (request.write && lost++ === 0 ? 'apply-and-drop' : undefined);
    const write = client.put('t', 'new');
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (change === 'split') cluster.split(3, 's', 9);
    else cluster.merge(3, 2);
    await write;
    assert.is(cluster.effects.get(hexOf('t')), 2, change);
  }
});

for (const reverse of [false, true]) {
  test(`a scan ${reverse ? 'backwards ' : ''}over regions that split and merge gives each entry once, in order`, async () => {
    const { cluster, client } = await filled(['f', 'm', 's']);
    let nextId = 20;
    let requests = 0;
    cluster.intercept = ({ request }) => {
      if (!request.scan) return undefined;
      // Between the pages the key space changes under the scan.
      if (++requests % 2 === 0) {
        const [first, second] = [...cluster.regions].sort((a, b) => Buffer.compare(a.startKey, b.startKey));
        if (requests % 4 === 0) cluster.merge(second!.regionId, first!.regionId);
        else {
          const key = Buffer.from('h');
          const region = cluster.regions.find((candidate) => containsKey(candidate, key));
          if (region && !key.equals(region.startKey)) cluster.split(region.regionId, 'h', nextId++);
        }
      }
      return undefined;
    };
    const seen: string[] = [];
    for await (const { key } of client.scan({ reverse, timeoutMs: 2_000 })) seen.push(text(key)!);
    assert.equal(seen, reverse ? [...LETTERS].reverse() : LETTERS);
  });
}

test('a batchGet whose keys come to lie in other regions gives every value in its place', async () => {
  const { cluster, client } = await filled(['f', 'm', 's']);
  before(cluster, 1, () => cluster.split(3, 'h', 20));
  assert.equal((await client.batchGet(LETTERS)).map(text), LETTERS);
  before(cluster, 1, () => {
    cluster.merge(20, 3);
    cluster.merge(3, 2);
  });
  assert.equal((await client.batchGet(LETTERS)).map(text), LETTERS);
});

test('a deleteRange over many regions leaves nothing, whatever they become meanwhile', async () => {
  for (let at = 1; at <= 8; at++) {
    const { cluster, client } = await filled(['f', 'm', 's']);
    before(cluster, at, () => {
      cluster.split(3, 'h', 20);
      cluster.merge(5, 4);
    });
    await client.deleteRange('c', 'y');
    assert.equal([...cluster.data.keys()].sort(), ['a', 'b', 'y', 'z'].map(hexOf), `at request ${at}`);
    before(cluster, at, () => cluster.merge(20, 3));
    await client.deleteRange('a', 'zz');
    assert.is(cluster.data.size, 0, `at request ${at}`);
  }
});

test('the pieces of a deleteRange that was sent before its region split do not stand in for each other', async () => {
  const { cluster } = await filled([]);
  const client = open(cluster, { attemptTimeoutMs: 60 });
  let requests = 0;
  cluster.intercept = ({ request }) => {
    if (!request.write) return undefined;
    requests++;
    // The whole is sent, and lost; then its region is two. One half does its piece; before the other does, they are one.
    if (requests === 1) {
      setTimeout(() => cluster.split(2, 'm', 9), 10);
      return 'drop';
    }
    if (request.regionId === 9) {
      const isDone = !cluster.data.has(hexOf('c'));
      if (isDone && cluster.regions.length === 2) cluster.merge(9, 2);
      else if (!isDone) return 'drop';
    }
    return undefined;
  };
  await client.deleteRange('c', 'y');
  assert.equal([...cluster.data.keys()].sort(), ['a', 'b', 'y', 'z'].map(hexOf));
});

test("a deleteRange under a user's own session over regions that merge between its attempts deletes all of it, once", async () => {
  const { cluster, client } = await filled();
  const user = client.withSession(Buffer.from('user'), 7);
  // The left region does its part; the right one is silent until both are one.
  cluster.intercept = ({ request }) => (request.write && request.regionId === 3 ? 'drop' : undefined);
  await rejects(user.deleteRange('c', 'y', { timeoutMs: 100 }), DeadlineExceeded);
  cluster.intercept = () => undefined;
  await client.put('d', 'written since');
  cluster.merge(3, 2);
  await user.deleteRange('c', 'y');
  assert.equal([...cluster.data.keys()].sort(), ['a', 'b', 'd', 'y', 'z'].map(hexOf));
});
