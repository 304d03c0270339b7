/** Questions with one answer, over a real broker. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Calls, connectLink, type Link } from '../../rpc/nats/index.ts';
import { ChangeRefused, InvalidArgument, Unavailable } from '../../rpc/wire/errors.ts';
import { startBroker, type Broker } from '../../tools/broker.ts';
import { assert, rejects, suite } from '../harness.ts';

const test = suite('questions with one answer');

let dir: string;
let broker: Broker;
let link: Link;
let calls: Calls;

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-calls-'));
  broker = await startBroker({ dir });
  link = await connectLink({ servers: broker.url, name: 'calls' });
  calls = new Calls(link);
});
test.after(async () => {
  calls.close();
  await link.close();
  await broker.stop();
  rmSync(dir, { recursive: true });
});

test('an answer, or the class of error that was thrown', async () => {
  calls.serve('half', (question) => {
    const { of } = question as { of: number };
    if (of % 2 !== 0) throw new ChangeRefused('odd', { field: 'of' });
    return of / 2;
  });
  assert.is(await calls.ask('half', { of: 8 }, 5_000), 4);
  const refused = await rejects(calls.ask('half', { of: 7 }, 5_000), ChangeRefused);
  assert.is(refused.details.field, 'of');
  await rejects(calls.ask('nobody', {}, 5_000), Unavailable);
});

test('what is too large for the broker is said to be so, at once, in both directions', async () => {
  calls.serve('flood', () => 'x'.repeat(2_000_000));
  const startedMs = performance.now();
  await rejects(calls.ask('flood', {}, 20_000), InvalidArgument);
  await rejects(calls.ask('half', { of: 'x'.repeat(2_000_000) }, 20_000), Unavailable);
  assert.ok(performance.now() - startedMs < 10_000);
});
