import { backoffMs, decideRetry } from '../../rpc/client/retry.ts';
import { ForeignSession, OwnSession } from '../../rpc/client/session.ts';
import {
  ClusterMismatch,
  EpochNotMatch,
  InvalidArgument,
  NotLeader,
  RegionNotFound,
  ServerBusy,
  StaleSequence,
  Unavailable,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';

const retry = suite('retry');

retry('what cannot help is not tried again', () => {
  for (const error of [new InvalidArgument('x'), new ClusterMismatch('x'), new StaleSequence('x')]) {
    assert.not(decideRetry(error, 1, 0.5).retry);
  }
});

retry('a hint is followed at once, and with pauses when hints go round', () => {
  const hint = new NotLeader('x', { leaderNodeId: 2 });
  assert.is(decideRetry(hint, 1, 0.5).delayMs, 0);
  assert.not(decideRetry(hint, 1, 0.5).turn);
  assert.ok(decideRetry(hint, 9, 0.5).delayMs > 0);
});

retry('without a hint it is the next peer, after a pause', () => {
  const decision = decideRetry(new NotLeader('x'), 1, 0.5);
  assert.ok(decision.turn && decision.delayMs > 0);
});

retry('an unreachable peer is left at once', () => {
  const decision = decideRetry(new Unavailable('x'), 1, 0.5);
  assert.ok(decision.turn);
  assert.is(decision.delayMs, 0);
});

retry('a busy server is asked again, later and later', () => {
  const delays = [1, 2, 3, 4, 5].map((attempts) => decideRetry(new ServerBusy('x'), attempts, 0.5).delayMs);
  assert.equal(
    delays,
    delays.toSorted((a, b) => a - b),
  );
  assert.not(decideRetry(new ServerBusy('x'), 1, 0.5).turn);
});

retry('routes are asked for when an error does not bring them', () => {
  assert.ok(decideRetry(new RegionNotFound('x'), 1, 0.5).refresh);
  assert.ok(decideRetry(new EpochNotMatch('x'), 1, 0.5).refresh);
  assert.not(decideRetry(new EpochNotMatch('x', { regions: [{}] }), 1, 0.5).refresh);
});

retry('pauses grow, are spread, and have an end', () => {
  for (let attempts = 1; attempts < 100; attempts++) {
    const [least, most] = [backoffMs(attempts, 0), backoffMs(attempts, 0.999)];
    assert.ok(least > 0 && most >= least && most <= 250, `${attempts}: ${least} to ${most}`);
  }
});

const session = suite('session');

session('the floor follows the lowest open sequence', () => {
  const own = new OwnSession(Buffer.from('s'));
  const [one, two, three] = [own.take(), own.take(), own.take()];
  assert.equal([one, two, three, own.floor], [1, 2, 3, 1]);
  own.settle(two);
  assert.is(own.floor, 1);
  own.settle(one);
  assert.is(own.floor, 3);
  own.settle(three);
  assert.is(own.floor, 4);
});

session('a sequence never runs further ahead of the floor than the window', () => {
  const own = new OwnSession(Buffer.from('s'));
  const first = own.take();
  let last = first;
  for (let seq = own.take(); seq !== 0; seq = own.take()) {
    last = seq;
    own.settle(seq);
  }
  assert.is(last - own.floor, LIMITS.sessionWindow - 1);
  assert.is(own.take(), 0);
  own.settle(first);
  assert.is(own.floor, last + 1);
  assert.is(own.take(), last + 1);
});

session('a sequence is settled once', () => {
  const own = new OwnSession(Buffer.from('s'));
  const seq = own.take();
  own.take();
  own.settle(seq);
  assert.throws(() => own.settle(seq));
  assert.throws(() => own.settle(99));
});

session('a foreign session leaves its calls room to overtake each other', () => {
  assert.is(new ForeignSession(Buffer.from('s'), 1).floor, 0);
  assert.is(new ForeignSession(Buffer.from('s'), 5_000).floor, 5_000 - 1024);
});
