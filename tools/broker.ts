/** A nats-server of our own on loopback: for tests, for the launcher and for the benchmark. */

import { mkdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

import { Child } from './child.ts';
import { ensureProgram, type Program } from './program.ts';

export const NATS_SERVER: Program = {
  name: 'nats-server',
  env: 'NATS_SERVER',
  packages: { 'apt-get': 'nats-server', apk: 'nats-server', brew: 'nats-server' },
  homepage: 'https://github.com/nats-io/nats-server/releases',
};

export interface BrokerOptions {
  /** For its log, `nats-server.log`. Made when it is missing. */
  readonly dir: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Further arguments of nats-server. */
  readonly args?: readonly string[];
  /** In a process group of its own, so that a Ctrl-C in the terminal reaches only us, who then stop it in order. */
  readonly detached?: boolean;
}

export interface Broker {
  readonly url: string;
  readonly port: number;
  readonly pid: number | undefined;
  /** Ends it with SIGTERM. */
  stop(): Promise<void>;
  /** Ends it with SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same port, after `stop` or `kill`. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay open and nothing moves. */
  freeze(): void;
  /** SIGCONT. */
  resume(): void;
}

const START_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 5_000;

/**
 * Starts a nats-server on 127.0.0.1, installing the program where it is missing.
 * @throws ProgramMissing when there is none and none can be installed
 */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const path = await ensureProgram(NATS_SERVER);
  mkdirSync(options.dir, { recursive: true });
  const port = options.port ?? (await freePort());
  let child = await launch(path, port, options);
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid;
    },
    stop: async () => void (await child.stop(STOP_GRACE_MS)),
    kill: async () => void (await child.kill()),
    restart: async () => {
      child = await launch(path, port, options);
    },
    freeze: () => child.freeze(),
    resume: () => child.resume(),
  };
}

/** A port of 127.0.0.1 that nobody listens on at this moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}

async function launch(path: string, port: number, options: BrokerOptions): Promise<Child> {
  const args = ['-a', '127.0.0.1', '-p', String(port), ...(options.args ?? [])];
  const logPath = join(options.dir, 'nats-server.log');
  const child = new Child(path, args, { logPath, detached: options.detached ?? false });
  await listening(child, port, logPath);
  return child;
}

async function listening(child: Child, port: number, logPath: string): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (!(await greets(port))) {
    if (!child.isRunning || performance.now() > deadline) {
      await child.kill();
      throw new Error(`nats-server did not start on port ${port}: see ${logPath}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Whether a NATS server answers there: it speaks first, with its INFO line. */
function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const answer = (greeted: boolean): void => {
      socket.destroy();
      resolve(greeted);
    };
    socket.setTimeout(1_000, () => answer(false));
    socket.on('error', () => answer(false));
    socket.on('data', (data) => answer(data.toString().startsWith('INFO')));
  });
}
