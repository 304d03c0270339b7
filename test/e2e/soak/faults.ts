/** What a soak does to a cluster: each fault takes its members in hand, does its worst, and leaves them as they should run. */

import type { Kv } from '../../../rpc/client/index.ts';
import { LIMITS } from '../../../rpc/wire/limits.ts';
import type { Broker } from '../../../tools/broker.ts';
import { eventually } from '../../harness.ts';
import type { PlacementView } from '../placement-view.ts';
import type { RawClient } from '../raw-client.ts';
import { changeByHand } from './by-hand.ts';
import type { Fleet, Member } from './fleet.ts';
import { publishGarbage } from './garbage.ts';
import { describePlacement } from './rest.ts';

export interface FaultPorts {
  readonly fleet: Fleet;
  readonly view: PlacementView;
  readonly raw: RawClient;
  readonly kv: Kv;
  readonly random: () => number;
  /** What times are multiplied by on a busy machine. */
  readonly slack: number;
}

export interface Fault {
  readonly name: string;
  /** How often it is drawn, among others. */
  readonly weight: number;
  /** Goes on while others come and go. */
  readonly isLong?: boolean;
  /** Does it, and undoes it. Undefined: it cannot be done now. */
  readonly begin: (ports: FaultPorts) => Promise<void> | undefined;
}

const FEWEST_NODES = 3;
const MOST_NODES = 5;
const LEAVE_MS = 30_000;
const BURST_VALUE = Buffer.alloc(20 * 1024, 'b');
/** So few that together they are too little to be split. */
const BURST_KEYS = 3;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function between(random: () => number, from: number, to: number): number {
  return from + random() * (to - from);
}

/** A fault of one node that runs: nobody else touches it meanwhile. */
function ofOneNode(body: (member: Member, ports: FaultPorts) => Promise<void>): Fault['begin'] {
  return (ports) => {
    const idle = ports.fleet.idle();
    const member = idle[Math.floor(ports.random() * idle.length)];
    return member && inHand(member, () => body(member, ports));
  };
}

async function inHand(member: Member, body: () => Promise<void>): Promise<void> {
  member.busy = true;
  try {
    await body();
  } finally {
    member.busy = false;
  }
}

async function killAndRestart(member: Member, { fleet, random }: FaultPorts): Promise<void> {
  await fleet.kill(member);
  await pause(between(random, 0, 3_000));
  if (random() < 0.3) {
    // Once more in the middle of its start.
    member.node.launch();
    await pause(between(random, 100, 1_500));
    await fleet.kill(member);
  }
  await fleet.launch(member);
}

async function freeze(member: Member, { random }: FaultPorts): Promise<void> {
  member.node.sigstop();
  await pause(between(random, 500, random() < 0.3 ? 10_000 : 2_500));
  member.node.sigcont();
}

async function killAll(ports: FaultPorts): Promise<void> {
  const members = ports.fleet.idle();
  await Promise.all(
    members.map((member) =>
      inHand(member, async () => {
        await ports.fleet.kill(member);
        await pause(between(ports.random, 0, 1_000));
        await ports.fleet.launch(member);
      }),
    ),
  );
}

async function changes({ view, fleet, random }: FaultPorts): Promise<void> {
  for (let count = 3 + random() * 6; count > 0; count--) {
    await changeByHand(view, fleet, random);
    await pause(between(random, 0, 300));
  }
}

/** Killed within moments of a change being asked for. */
async function killInChange(member: Member, ports: FaultPorts): Promise<void> {
  const { view, fleet, random } = ports;
  await Promise.all([1, 2, 3, 4].map(() => changeByHand(view, fleet, random)));
  await pause(between(random, 0, 800));
  await killAndRestart(member, ports);
}

/** Away while logs grow past what is kept for it; then killed while snapshots are on their way to it. */
async function awayForLong(member: Member, ports: FaultPorts): Promise<void> {
  const { fleet, kv, random } = ports;
  await fleet.kill(member);
  await burst(kv, 1.3 * LIMITS.logForceBytes, random);
  if (random() < 0.7) {
    member.node.launch();
    await pause(between(random, 500, 4_000));
    await fleet.kill(member);
  }
  await fleet.launch(member);
}

/** Large values under a few keys of one place. What fails of it is nobody's loss. */
async function burst(kv: Kv, bytes: number, random: () => number): Promise<void> {
  const place = String.fromCharCode(33 + random() * 90);
  const writes = Math.ceil(bytes / BURST_VALUE.length);
  let at = 0;
  const write = async (): Promise<void> => {
    while (at++ < writes) {
      await kv.put(`${place}burst/${at % BURST_KEYS}`, BURST_VALUE, { timeoutMs: 3_000 }).catch(() => pause(50));
    }
  };
  await Promise.all([write(), write(), write(), write()]);
  await kv.deleteRange(`${place}burst/`, `${place}burst0`, { timeoutMs: 10_000 }).catch(() => {});
}

function join({ fleet }: FaultPorts): Promise<void> | undefined {
  if (fleet.staying.length >= MOST_NODES) return undefined;
  const member = fleet.add();
  return inHand(member, () => fleet.launch(member));
}

/** Drained, until it has left and ended by itself. */
function leave(ports: FaultPorts): Promise<void> | undefined {
  const { fleet, random, view, slack } = ports;
  const idle = fleet.idle();
  const member = idle[Math.floor(random() * idle.length)];
  if (!member || fleet.staying.length <= FEWEST_NODES) return undefined;
  if (member === fleet.smallDisk()) return undefined;
  member.duty = 'leaving';
  const { id } = member.node;
  return inHand(member, async () => {
    try {
      await eventually('it is told', () => drained(view, id), LEAVE_MS * slack);
      await eventually('it ends by itself', () => !member.node.isRunning, LEAVE_MS * slack);
      member.duty = 'gone';
    } catch (error) {
      const state = await describePlacement(view).catch(String);
      fleet.violation(`node ${id} does not leave: ${(error as Error).message}\n${state}`);
    }
  });
}

async function drained(view: PlacementView, nodeId: number): Promise<boolean> {
  await view.admin.placement('node.drain', { nodeId, leave: true });
  return true;
}

/** Its data is lost: its old id is refused, its replicas are replaced, a new id comes in its place. */
function wipe(ports: FaultPorts): Promise<void> | undefined {
  const { fleet, random } = ports;
  const isWiping = [...fleet.members.values()].some(({ duty, busy }) => duty === 'gone' && busy);
  const idle = fleet.idle().filter((member) => member !== fleet.smallDisk());
  const member = idle[Math.floor(random() * idle.length)];
  if (!member || isWiping || fleet.staying.length <= FEWEST_NODES) return undefined;
  return inHand(member, () => wiped(member, ports));
}

async function wiped(member: Member, { fleet, view, slack }: FaultPorts): Promise<void> {
  const { node } = member;
  // Who has two voters elsewhere loses nothing by this one.
  const isWhole = await view.regions().then(
    (regions) => regions.every(({ peers }) => peers.filter(({ role }) => role === 'voter').length >= 3),
    () => false,
  );
  if (!isWhole) return;
  await fleet.wipe(member);
  await eventually('placement is led', () => view.nodes(), LEAVE_MS * slack).catch(() => {});
  node.launch();
  const served = await node.ready().then(
    () => true,
    () => false,
  );
  if (served) await pause(5_000 * slack);
  if (node.isRunning) fleet.violation(`node ${node.id} runs although it lost its data`);
  else if (!/mraft: NodeIdInUse: /.test(node.logTail)) fleet.violation(`node ${node.id} ended by: ${node.logTail}`);
  await node.kill9();
  const successor = fleet.add();
  await inHand(successor, () => fleet.launch(successor));
  await eventually(
    'its replicas are replaced',
    async () => (await view.regions()).every(({ peers }) => !peers.some(({ nodeId }) => nodeId === node.id)),
    LEAVE_MS * slack,
  ).catch((error: Error) => fleet.violation(`node ${node.id}: ${error.message}`));
  await eventually(
    'it is removed',
    async () => {
      await view.admin.placement('node.remove', { nodeId: node.id });
      return true;
    },
    LEAVE_MS * slack,
  ).catch((error: Error) => fleet.violation(`node ${node.id}: ${error.message}: ${String(error.cause)}`));
}

function fillDisk({ fleet, random }: FaultPorts): Promise<void> | undefined {
  const member = fleet.smallDisk();
  return (
    member &&
    inHand(member, async () => {
      fleet.fillDisk(member);
      await pause(between(random, 1_000, 5_000));
      fleet.freeDisk(member);
    })
  );
}

/** A fault of the broker; one at a time. */
function ofBroker(body: (broker: Broker, random: () => number) => Promise<void>): Fault['begin'] {
  return ({ fleet, random }) => {
    const { broker } = fleet.local;
    if (!broker || fleet.isBrokerBusy) return undefined;
    fleet.isBrokerBusy = true;
    return body(broker, random).finally(() => (fleet.isBrokerBusy = false));
  };
}

async function killBroker(broker: Broker, random: () => number): Promise<void> {
  await broker.kill();
  await pause(between(random, 0, 3_000));
  await broker.restart();
}

async function freezeBroker(broker: Broker, random: () => number): Promise<void> {
  broker.freeze();
  await pause(between(random, 300, 6_000));
  broker.resume();
}

function garbage({ fleet, raw, random }: FaultPorts): Promise<void> {
  const options = { cluster: fleet.local.cluster, nodes: fleet.staying, random };
  return publishGarbage(raw, { ...options, durationMs: between(random, 500, 3_000) });
}

async function termAndRestart(member: Member, { fleet, random }: FaultPorts): Promise<void> {
  await fleet.term(member);
  await pause(between(random, 0, 2_000));
  await fleet.launch(member);
}

async function throwInThread(member: Member, { fleet, random }: FaultPorts): Promise<void> {
  fleet.throwInThread(member);
  await pause(between(random, 500, 2_500));
}

export const FAULTS: readonly Fault[] = [
  { name: 'kill', weight: 4, begin: ofOneNode(killAndRestart) },
  { name: 'freeze', weight: 4, begin: ofOneNode(freeze) },
  { name: 'kill-all', weight: 0.5, begin: killAll },
  { name: 'term', weight: 2, begin: ofOneNode(termAndRestart) },
  { name: 'throw', weight: 2, begin: ofOneNode(throwInThread) },
  { name: 'changes', weight: 5, begin: changes },
  { name: 'kill-in-change', weight: 3, begin: ofOneNode(killInChange) },
  { name: 'away', weight: 1, begin: ofOneNode(awayForLong) },
  { name: 'join', weight: 3, begin: join },
  { name: 'leave', weight: 2, isLong: true, begin: leave },
  { name: 'wipe', weight: 1.5, isLong: true, begin: wipe },
  { name: 'disk-full', weight: 1.5, begin: fillDisk },
  { name: 'kill-broker', weight: 1, begin: ofBroker(killBroker) },
  { name: 'freeze-broker', weight: 1, begin: ofBroker(freezeBroker) },
  { name: 'garbage', weight: 1.5, begin: garbage },
];
