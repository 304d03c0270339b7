/**
 * Golden scripts: each file of testdata/ is run, and what it prints must be what is written there. A change of
 * behaviour is a diff to read: `node dist/test/raft/script.test.js --rewrite` writes down what happens now.
 */

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { assert, suite } from '../harness.ts';
import { Script } from './script.ts';

const test = suite('raft golden scripts');
const folder = new URL('../../../test/raft/testdata/', import.meta.url);
const rewrite = process.argv.includes('--rewrite');
const files = readdirSync(folder).filter((name) => name.endsWith('.txt'));

/** The text with the output of each verb as it is now: indented lines are output, `#` begins a comment. */
function play(text: string): string {
  const script = new Script();
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('  ')) continue;
    lines.push(line);
    if (line === '' || line.startsWith('#')) continue;
    lines.push(...script.execute(line).map((printed) => `  ${printed}`));
  }
  return lines.join('\n');
}

test('there are scripts', () => assert.ok(files.length > 0));

for (const name of files) {
  test(name.replace('.txt', '').replaceAll('-', ' '), () => {
    const url = new URL(name, folder);
    const expected = readFileSync(url, 'utf8');
    const actual = play(expected);
    if (rewrite) writeFileSync(url, actual);
    else assert.fixture(actual, expected);
  });
}
