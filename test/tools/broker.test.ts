import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { startBroker } from '../../tools/broker.ts';
import { ensureProgram, findProgram, ProgramMissing } from '../../tools/program.ts';
import { assert, rejects, suite } from '../harness.ts';

const test = suite('broker');
const dir = mkdtempSync(join(tmpdir(), 'mraft-broker-'));
test.after(() => rmSync(dir, { recursive: true }));

function ping(port: number, waitMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('CONNECT {"verbose":false}\r\nPING\r\n'));
    const answer = (alive: boolean): void => {
      socket.destroy();
      resolve(alive);
    };
    socket.setTimeout(waitMs, () => answer(false));
    socket.on('error', () => answer(false));
    socket.on('data', (data) => data.toString().includes('PONG') && answer(true));
  });
}

test('starts, freezes, resumes, dies and returns on its port', async () => {
  const broker = await startBroker({ dir });
  try {
    assert.ok(await ping(broker.port, 5_000));
    broker.freeze();
    assert.not(await ping(broker.port, 300));
    broker.resume();
    assert.ok(await ping(broker.port, 5_000));
    const firstPid = broker.pid;
    await broker.kill();
    assert.not(await ping(broker.port, 300));
    await broker.restart();
    assert.is.not(broker.pid, firstPid);
    assert.ok(await ping(broker.port, 5_000));
  } finally {
    await broker.stop();
  }
  assert.not(await ping(broker.port, 300));
});

test('a program that cannot be found or installed is one line that says what to do', async () => {
  const error = await rejects(
    ensureProgram({
      name: 'mraft-no-such-program',
      env: 'MRAFT_NO_SUCH',
      packages: {},
      homepage: 'https://example.org',
    }),
    ProgramMissing,
  );
  assert.match(error.message, /mraft-no-such-program is needed .*MRAFT_NO_SUCH/);
  assert.not.match(error.message, '\n');
});

test('an environment variable that names no executable is refused, not passed over', () => {
  const path = join(dir, 'not-executable');
  writeFileSync(path, '');
  process.env['MRAFT_TEST_PROGRAM'] = path;
  try {
    assert.throws(
      () => findProgram({ name: 'node', env: 'MRAFT_TEST_PROGRAM', packages: {}, homepage: '' }),
      /MRAFT_TEST_PROGRAM: .* is not an executable file/,
    );
  } finally {
    delete process.env['MRAFT_TEST_PROGRAM'];
  }
});
