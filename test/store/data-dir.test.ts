/** A data directory is one node's: what is refused, by which error, and that nothing in it was touched. */

import fs from 'node:fs';
import path from 'node:path';

import { assert, suite } from '../harness.ts';
import { nextBootEpoch, openDataDir, readClusterId, writeClusterId } from '../../engine/store/data-dir.ts';
import { openRocks } from '../../engine/store/rocks-store.ts';
import {
  Amnesia,
  DataDirInUse,
  DataDirMismatch,
  DataDirUnusable,
  StorageFailure,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { removeDir, scratchDir, text, thrownBy, writeAll } from './fixtures.ts';

const test = suite('a data directory');
const NODE = { cluster: 'blue', nodeId: 3 };

let parent: string;
let dir: string;
test.before.each(() => {
  parent = scratchDir();
  dir = path.join(parent, 'deep', 'data');
});
test.after.each(() => removeDir(parent));

/** Every file below a directory with its content and the time it was changed. */
function snapshot(root: string): string[] {
  return fs
    .readdirSync(root, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const file = path.join(entry.parentPath, entry.name);
      const { mtimeNs, size } = fs.statSync(file, { bigint: true });
      return `${file} ${mtimeNs} ${size}`;
    })
    .toSorted();
}

async function useOnce(): Promise<void> {
  const { storeDir } = openDataDir(dir, NODE);
  const owner = await openRocks({ dir: storeDir });
  nextBootEpoch(dir, 0);
  writeAll(owner.store(), [['data', 'k', 'v']], true);
  await owner.close();
}

test('a new one is made, with its parents, and is known again', async () => {
  assert.is(openDataDir(dir, NODE).created, true);
  const { incarnation } = openDataDir(dir, NODE);
  assert.equal(JSON.parse(fs.readFileSync(path.join(dir, 'mraft.json'), 'utf8')), { format: 1, ...NODE, incarnation });
  assert.is(openDataDir(dir, NODE).created, false);
  await useOnce();
  const owner = await openRocks({ dir: openDataDir(dir, NODE).storeDir });
  assert.is(text(owner.store().get('data', Buffer.from('k'))), 'v');
  await owner.close();
});

test('that was wiped has another incarnation', () => {
  const { incarnation } = openDataDir(dir, NODE);
  assert.ok(Number.isSafeInteger(incarnation) && incarnation > 0);
  assert.is(openDataDir(dir, NODE).incarnation, incarnation);
  fs.rmSync(dir, { recursive: true });
  assert.is.not(openDataDir(dir, NODE).incarnation, incarnation);
});

test('of before incarnations gets one and keeps it', () => {
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(path.join(dir, 'mraft.json'), JSON.stringify({ format: 1, ...NODE }));
  const { incarnation } = openDataDir(dir, NODE);
  assert.ok(incarnation > 0);
  assert.is(openDataDir(dir, NODE).incarnation, incarnation);
});

test('remembers which cluster it belongs to', () => {
  openDataDir(dir, NODE);
  assert.is(readClusterId(dir), undefined);
  writeClusterId(dir, 'abc');
  assert.is(readClusterId(dir), 'abc');
});

for (const [field, wrong] of [
  ['cluster', { cluster: 'green', nodeId: 3 }],
  ['nodeId', { cluster: 'blue', nodeId: 4 }],
] as const) {
  test(`of another ${field} is refused by name and not touched`, async () => {
    await useOnce();
    const before = snapshot(dir);
    const error = thrownBy(() => openDataDir(dir, wrong)) as MraftError;
    assert.instance(error, DataDirMismatch);
    assert.is(error.details.field, field);
    assert.match(error.message, new RegExp(`${field} .*${String(NODE[field])}.*${String(wrong[field])}`));
    assert.equal(snapshot(dir), before);
  });
}

test('of another format, or with an identity that is none, is refused', () => {
  fs.mkdirSync(dir, { recursive: true });
  const file = path.join(dir, 'mraft.json');
  for (const content of ['{"format":2,"cluster":"blue","nodeId":3}', '{', '', '[]', 'null', '7']) {
    fs.writeFileSync(file, content);
    assert.instance(
      thrownBy(() => openDataDir(dir, NODE)),
      DataDirMismatch,
    );
    assert.is(fs.readFileSync(file, 'utf8'), content);
  }
});

test('that holds a database without an identity is not taken for a new one', async () => {
  await useOnce();
  fs.rmSync(path.join(dir, 'mraft.json'));
  const before = snapshot(dir);
  assert.instance(
    thrownBy(() => openDataDir(dir, NODE)),
    DataDirMismatch,
  );
  assert.equal(snapshot(dir), before);
});

test('whose database was removed is refused: the node must not forget what it promised', async () => {
  await useOnce();
  removeDir(path.join(dir, 'rocksdb'));
  assert.instance(
    thrownBy(() => openDataDir(dir, NODE)),
    Amnesia,
  );
});

test('in use is refused, and the one who uses it notices nothing', async () => {
  const { storeDir } = openDataDir(dir, NODE);
  const owner = await openRocks({ dir: storeDir });
  writeAll(owner.store(), [['data', 'k', 'v']], true);
  // The one who uses it tidies up other files in the background.
  const data = (): string[] => snapshot(storeDir).filter((line) => /CURRENT|\.log|\.sst/.test(line));
  const before = data();
  for (let attempt = 0; attempt < 2; attempt++) {
    const error = await openRocks({ dir: storeDir }).catch((thrown: unknown) => thrown);
    assert.instance(error, DataDirInUse);
    assert.match((error as Error).message, storeDir);
  }
  assert.equal(data(), before);
  writeAll(owner.store(), [['data', 'k', 'w']], true);
  assert.is(text(owner.store().get('data', Buffer.from('k'))), 'w');
  await owner.close();
});

test('that is a file, or below one, is unusable and says why', async () => {
  const file = path.join(parent, 'file');
  fs.writeFileSync(file, 'not a directory');
  for (const wrong of [file, path.join(file, 'below')]) {
    const error = thrownBy(() => openDataDir(wrong, NODE)) as MraftError;
    assert.instance(error, DataDirUnusable);
    assert.match(error.message, wrong);
    assert.ok(error.cause);
  }
  assert.is(fs.readFileSync(file, 'utf8'), 'not a directory');
  const error = await openRocks({ dir: file }).catch((thrown: unknown) => thrown);
  assert.instance(error, DataDirUnusable);
});

test('that may not be written is unusable, a new one as well as an old one', async () => {
  await useOnce();
  const before = snapshot(parent);
  fs.chmodSync(parent, 0o755);
  const otherDir = path.join(parent, 'other');
  const user = process.geteuid?.() ?? 0;
  // Root may write everywhere, so these calls are made as nobody; access(2), which asks by the real user, lets them pass.
  if (user === 0) process.seteuid?.(65_534);
  else fs.chmodSync(dir, 0o500);
  try {
    for (const forbidden of user === 0 ? [otherDir] : [dir]) {
      const error = thrownBy(() => openDataDir(forbidden, NODE)) as MraftError;
      assert.instance(error, DataDirUnusable);
      assert.match(error.message, forbidden);
    }
    const error = await openRocks({ dir: path.join(dir, 'rocksdb') }).catch((thrown: unknown) => thrown);
    assert.instance(error, DataDirUnusable);
  } finally {
    if (user === 0) process.seteuid?.(user);
    else fs.chmodSync(dir, 0o700);
  }
  assert.equal(snapshot(parent), before);
});

test('a database that is damaged is a storage failure that says what to do', async () => {
  await useOnce();
  const storeDir = path.join(dir, 'rocksdb');
  fs.writeFileSync(path.join(storeDir, 'CURRENT'), 'MANIFEST-999999\n');
  const error = await openRocks({ dir: storeDir }).catch((thrown: unknown) => thrown);
  assert.instance(error, StorageFailure);
  assert.match((error as Error).message, /remove this node/);
  assert.ok((error as Error).cause);
});

test('boot epochs grow with every start, whatever the clock does', () => {
  openDataDir(dir, NODE);
  assert.equal(
    [nextBootEpoch(dir, 1_000), nextBootEpoch(dir, 500), nextBootEpoch(dir, 0), nextBootEpoch(dir, 5_000.7)],
    [1_000, 1_001, 1_002, 5_000],
  );
});

test('a boot file that holds no number is refused rather than guessed', () => {
  openDataDir(dir, NODE);
  for (const content of ['', 'x', '-4', '1.5']) {
    fs.writeFileSync(path.join(dir, 'boot'), content);
    assert.instance(
      thrownBy(() => nextBootEpoch(dir, 1)),
      DataDirUnusable,
    );
    assert.is(fs.readFileSync(path.join(dir, 'boot'), 'utf8'), content);
  }
});
