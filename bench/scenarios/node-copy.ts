/** The files of a node's database as they were at one moment, to be copied from entry by entry as often as wanted. */

import { execFile } from 'node:child_process';
import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import type { LocalCluster } from '../../tools/local-cluster.ts';
import type { PlainCopy } from '../store/plain-copy.ts';

const PROGRAM = fileURLToPath(new URL('../store/plain-copy.js', import.meta.url));
const COPY_TIMEOUT_MS = 300_000;

export class NodeCopy {
  private readonly dir: string;
  private copies = 0;

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** The node is stopped meanwhile, since nobody else may have its database open. What is made lies in the cluster's folder. */
  static async take(cluster: LocalCluster, nodeId: number): Promise<NodeCopy> {
    const node = cluster.node(nodeId);
    const dir = join(cluster.dir, `copy-of-node-${nodeId}`);
    await node.term();
    await cp(join(node.dataDir, 'rocksdb'), dir, { recursive: true });
    await node.start();
    await cluster.waitForLeaders();
    return new NodeCopy(dir);
  }

  /** In a process of its own, which has one thread for it. @throws when it fails, with what it said */
  async copy(): Promise<PlainCopy> {
    const into = `${this.dir}-${++this.copies}`;
    await mkdir(into);
    try {
      const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, this.dir, into], {
        timeout: COPY_TIMEOUT_MS,
      });
      return JSON.parse(stdout) as PlainCopy;
    } finally {
      await rm(into, { recursive: true, force: true });
    }
  }
}
