/** What nodes wrote into their logs, held against what was done to them. */

import { readFileSync } from 'node:fs';

import type { Fleet } from './fleet.ts';

interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly err?: { readonly message?: string };
}

const ERROR = 50;
/** Of each node, what is shown of what nobody can explain. */
const MOST_SHOWN = 5;
const THROWN = 'thrown by a test';
/** Node's own warnings about what only the tests load. */
const OF_NODE = /^\(node:\d+\)|^\(Use `node /;
/** How a node ends that is refused, or has left. */
const REFUSED = /^mraft: (NodeIdInUse|NodeNotFound): /;

/** The lines of all logs that nothing explains. */
export function unexplainedLines(fleet: Fleet): string[] {
  return [...fleet.members.values()].flatMap(({ node, duty }) => {
    const lines = readFileSync(node.logPath, 'utf8').split('\n').filter(Boolean);
    return lines
      .filter((line) => !isExplained(line, duty === 'gone'))
      .slice(0, MOST_SHOWN)
      .map((line) => `log of node ${node.id}: ${line.slice(0, 600)}`);
  });
}

function isExplained(line: string, isGone: boolean): boolean {
  if (!line.startsWith('{')) return OF_NODE.test(line) || (isGone && REFUSED.test(line));
  let entry: LogLine;
  try {
    entry = JSON.parse(line) as LogLine;
  } catch {
    return false;
  }
  if (entry.level < ERROR) return true;
  if (/^worker \d+ died|^a thread died/.test(entry.msg)) return entry.err?.message?.includes(THROWN) ?? false;
  // A node that lost its data is told so, and a node that left is not needed.
  return isGone && entry.msg === 'the node cannot go on';
}
