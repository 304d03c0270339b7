/** What comes over the network about placement is read strictly: a slip is a complaint, and never something else. */

import { heartbeatFromJson, operatorRequestFromJson } from '../../engine/node/placement-messages.ts';
import { keyFromJson } from '../../engine/node/region-json.ts';
import { MraftError } from '../../rpc/wire/errors.ts';
import { assert, suite } from '../harness.ts';

const test = suite('messages about placement');

function refused(code: string, read: () => unknown): void {
  try {
    read();
  } catch (error) {
    assert.instance(error, MraftError);
    assert.is((error as MraftError).code, code);
    return;
  }
  throw new Error(`it was taken, and ${code} expected`);
}

test('keys are base64 and nothing else', () => {
  assert.equal(keyFromJson('/+8='), Buffer.from([0xff, 0xef]));
  assert.equal(keyFromJson(''), Buffer.alloc(0));
  for (const wrong of ['%%%%', 'YQ', 'YQ=', 'Y Q==', 'YQ==\n', '_-8=', 7, null]) {
    refused('MalformedRequest', () => keyFromJson(wrong));
  }
});

test('an observer is asked for by true; what is neither true nor false makes no voter', () => {
  const ask = (observer: unknown): unknown =>
    operatorRequestFromJson({ kind: 'addReplica', regionId: 2, nodeId: 4, observer });
  assert.equal(ask(true), { kind: 'addReplica', regionId: 2, nodeId: 4, observer: true });
  assert.equal(ask(undefined), { kind: 'addReplica', regionId: 2, nodeId: 4, observer: false });
  for (const wrong of ['true', 1, null]) refused('InvalidArgument', () => ask(wrong));
});

test('labels are names and values of plain characters', () => {
  const beat = { nodeId: 1, incarnation: 'x', workers: 1, capacityBytes: 1, availableBytes: 1, busy: 0, leaders: 0 };
  const ask = (labels: unknown): unknown => heartbeatFromJson({ ...beat, replicas: 0, labels });
  ask({ zone: 'a', 'rack.1': 'b_2-c' });
  for (const wrong of [{ '': 'a' }, { zone: 'a b' }, { 'z\u0000': 'a' }, { zone: 1 }, ['a'], 'zone=a', { é: 'a' }]) {
    refused('InvalidArgument', () => ask(wrong));
  }
});
