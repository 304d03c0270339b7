/** What placement says of a cluster, for tests that wait until it has done something. */

import { Admin } from '../../tools/admin.ts';
import { eventually } from '../harness.ts';

export interface PlacedNode {
  readonly nodeId: number;
  readonly state: string;
  readonly leaders: number;
  readonly replicas: number;
}

export interface PlacedRegion {
  readonly regionId: number;
  readonly leaderNodeId: number;
  readonly epoch: { readonly version: number; readonly confVersion: number };
  readonly startKey: string;
  readonly endKey: string;
  readonly peers: readonly { readonly peerId: number; readonly nodeId: number; readonly role: string }[];
}

interface OperatorList {
  readonly operators: readonly unknown[];
  readonly log: readonly { readonly event: string; readonly text: string }[];
}

export class PlacementView {
  readonly admin: Admin;

  private constructor(admin: Admin) {
    this.admin = admin;
  }

  static async connect(address: { cluster: string; url: string }): Promise<PlacementView> {
    return new PlacementView(await Admin.connect({ cluster: address.cluster, nats: address.url }));
  }

  async nodes(): Promise<PlacedNode[]> {
    return (await this.admin.placement('node.list')) as PlacedNode[];
  }

  async regions(): Promise<PlacedRegion[]> {
    return (await this.admin.placement('region.list')) as PlacedRegion[];
  }

  async operators(): Promise<OperatorList> {
    return (await this.admin.placement('operator.list')) as OperatorList;
  }

  async set(patch: Readonly<Record<string, unknown>>): Promise<void> {
    await this.admin.placement('settings.set', { patch });
  }

  /** Until placement is led and knows so many nodes that are up. */
  async untilUp(count: number, timeoutMs: number): Promise<void> {
    await eventually(
      `${count} nodes are up`,
      async () => (await this.nodes()).filter((node) => node.state === 'up').length === count,
      timeoutMs,
    );
  }

  /**
   * Until the leaders of the nodes that are up lie within a tenth of even, all replicas are where they belong and nothing
   * is under way; how long that took.
   */
  async untilEven(nodes: readonly number[], timeoutMs: number): Promise<number> {
    const startedMs = performance.now();
    let state = '';
    await eventually(
      `leaders are even on nodes ${nodes.join(', ')}`,
      async () => {
        const [placed, regions, { operators }] = await Promise.all([this.nodes(), this.regions(), this.operators()]);
        const problem = unevenness(nodes, placed, regions);
        state = problem ?? '';
        return problem === undefined && operators.length === 0;
      },
      timeoutMs,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${state}`, { cause: error });
    });
    return performance.now() - startedMs;
  }

  close(): Promise<void> {
    return this.admin.close();
  }
}

function unevenness(
  nodes: readonly number[],
  placed: readonly PlacedNode[],
  regions: readonly PlacedRegion[],
): string | undefined {
  const strange = regions.find(
    ({ peers }) => peers.length !== 3 || !peers.every(({ nodeId, role }) => nodes.includes(nodeId) && role === 'voter'),
  );
  if (strange) return `region ${strange.regionId} has ${JSON.stringify(strange.peers)}`;
  const leaderless = regions.find((region) => region.leaderNodeId === 0);
  if (leaderless) return `region ${leaderless.regionId} has no leader`;
  // With the leader of placement's own region, which is no region of keys.
  const leaders = placed.filter(({ nodeId }) => nodes.includes(nodeId));
  const even = leaders.reduce((sum, node) => sum + node.leaders, 0) / nodes.length;
  // Whole regions lie at most one beside an even share that is none.
  const uneven = leaders.find((node) => Math.abs(node.leaders - even) > Math.max(1, even / 10));
  if (uneven) return `node ${uneven.nodeId} leads ${uneven.leaders}, even are ${even}`;
  const unknown = nodes.find((nodeId) => !placed.some((node) => node.nodeId === nodeId && node.state === 'up'));
  return unknown === undefined ? undefined : `node ${unknown} is not up`;
}
