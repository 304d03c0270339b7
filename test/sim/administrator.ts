/**
 * Whoever runs the cluster: sets what placement goes by, lets nodes join, drains them, and asks for changes by hand. Asks
 * through any node, as `mraft ctl` does.
 */

import { PlacementUnavailable, asMraftError } from '../../rpc/wire/errors.ts';
import type { VirtualNode, VirtualProcess } from './process.ts';
import type { Random } from './random.ts';
import { regionLetter, type World } from './world.ts';

/** What a request may fail by. */
const CODES: readonly string[] = [
  'PlacementUnavailable',
  'NodeNotFound',
  'RegionNotFound',
  'RegionChanging',
  'ChangeRefused',
  'Unavailable',
];
const RETRY_MS = 300;

export class Administrator {
  readonly #world: World;
  #stopped = false;
  /** How requests ended, by code. */
  readonly outcomes = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Sets everything so short and so small that a run of seconds meets all of it, and lets nodes join. */
  start(random: Random): void {
    const settings = drawSettings(random);
    this.#set(settings);
    const { nodes, config } = this.#world;
    for (const node of nodes.slice(config.initialNodes)) {
      this.#world.at(random.between(0.05, 0.7) * config.durationMs, () => node.start());
    }
  }

  #set(patch: object): void {
    this.#ask('settings.set', { patch }, (outcome) => {
      if (outcome !== 'done') this.#world.at(this.#world.nowMs + RETRY_MS, () => this.#set(patch));
    });
  }

  // --- nodes ---------------------------------------------------------------------------------------------------------

  /** Away with everything on a node, for good or for a while. */
  drain(random: Random): void {
    const node = random.pick(this.#world.nodes);
    if (node.isLost || node.bootEpoch === 0) return;
    const leave = random.chance(0.4);
    this.#ask('node.drain', { nodeId: node.nodeId, leave }, (outcome) => {
      // What is not known to be refused may have happened.
      if (leave && outcome !== 'ChangeRefused' && outcome !== 'NodeNotFound') node.mayBeRefused = true;
    });
    if (leave || this.#stopped) return;
    const lastsMs = random.wait(this.#world.config.durationMs / 5);
    this.#world.at(this.#world.nowMs + lastsMs, () => this.#undrain(node));
  }

  #undrain({ nodeId }: VirtualNode): void {
    this.#ask('node.undrain', { nodeId }, (outcome) => {
      if (outcome !== 'PlacementUnavailable') return;
      this.#world.at(this.#world.nowMs + RETRY_MS, () => this.#undrain(this.#world.node(nodeId)));
    });
  }

  // --- regions -------------------------------------------------------------------------------------------------------

  /** Some change by hand, sensible or not. */
  operate(random: Random): void {
    const regions = this.#world.currentRegions;
    const { regionId, peers } = random.pick(regions);
    const someNode = random.pick(this.#world.nodes).nodeId;
    const { regions: letters, keysPerRegion } = this.#world.config;
    const key = `${regionLetter(random.below(letters))}${random.below(keysPerRegion)}`;
    const request = random.pick([
      { kind: 'addReplica', nodeId: someNode },
      // Where a node may lose what it has, nobody leaves a region with too few beside it.
      ...(this.#isAnyLost ? [] : [{ kind: 'removeReplica', nodeId: random.pick(peers).nodeId }]),
      { kind: 'moveReplica', fromNodeId: random.pick(peers).nodeId, toNodeId: someNode },
      { kind: 'transferLeader', nodeId: random.pick(peers).nodeId },
      { kind: 'split', splitKey: Buffer.from(key).toString('base64') },
      { kind: 'split' },
      { kind: 'merge', targetRegionId: random.pick(regions).regionId },
    ]);
    this.#ask('operator.add', { ...request, regionId });
  }

  get #isAnyLost(): boolean {
    const { amnesiaEvery, wipeEvery } = this.#world.config.faults;
    return amnesiaEvery + wipeEvery > 0;
  }

  // --- the way of a request ------------------------------------------------------------------------------------------

  #ask(verb: string, question: object, done: (outcome: string) => void = () => {}): void {
    const up = this.#world.nodes.filter((node) => node.process?.member !== undefined);
    const process = up[this.#world.events % Math.max(1, up.length)]?.process;
    if (!process?.member) return done('PlacementUnavailable');
    this.#world.promisesMoved = true;
    Promise.race([process.member.askPlacement(verb, question), endOf(process)]).then(
      () => this.#end(verb, 'done', done),
      (thrown: unknown) => {
        const error = asMraftError(thrown);
        this.#world.trace(() => `the administrator hears to ${verb} ${JSON.stringify(question)}: ${error.message}`);
        if (!CODES.includes(error.code)) {
          this.#world.report('requests fail by documented codes', `${verb}: ${error.stack ?? error.message}`);
        }
        this.#end(verb, error.code, done);
      },
    );
  }

  #end(verb: string, outcome: string, done: (outcome: string) => void): void {
    const name = `${verb} ${outcome}`;
    this.outcomes.set(name, (this.outcomes.get(name) ?? 0) + 1);
    done(outcome);
  }
}

/** Whoever asks a node that dies learns that it does, and may ask another. @throws PlacementUnavailable then */
async function endOf({ nodeId, died }: VirtualProcess): Promise<never> {
  await died;
  throw new PlacementUnavailable(`node ${nodeId} died before it answered: ask another`);
}

function drawSettings(random: Random): object {
  const splitSizeBytes = random.pick([1_024, 2_048, 8_192]);
  const suspectAfterMs = random.pick([1_200, 2_500]);
  return {
    splitSizeBytes,
    mergeSizeBytes: random.pick([0, splitSizeBytes / 4, splitSizeBytes / 4]),
    minimumRegions: 1,
    mergeAfterMs: random.pick([0, 1_000, 4_000]),
    coldPerSecond: random.pick([1, 1_000]),
    splitLoadPerSecond: random.pick([0, 5, 20]),
    hotPerSecond: random.pick([5, 500]),
    suspectAfterMs,
    replaceAfterMs: suspectAfterMs + random.pick([500, 3_000]),
    leaderTolerance: random.pick([0, 0.03]),
    sizeTolerance: random.pick([0, 0.05]),
  };
}
