/** `npm start`: a broker and three nodes on loopback that stay until Ctrl-C, with how to talk to them. */

import { startLocalCluster, type LocalCluster } from './local-cluster.ts';
import { ProgramMissing } from './program.ts';

const USAGE = `usage: npm start [-- --dir DIR]    DIR keeps the data; without it the data goes with the cluster`;

async function main(): Promise<void> {
  const dir = parseDir(process.argv.slice(2));
  const told = new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  console.error('starting a broker and three nodes …');
  const cluster = await startLocalCluster({ detached: true, ...(dir === undefined ? {} : { dir }) });
  console.log(howToTalk(cluster));
  await told;
  console.error('stopping …');
  await cluster.stop();
}

function parseDir(args: readonly string[]): string | undefined {
  const [flag, dir, ...rest] = args;
  if (flag === undefined) return undefined;
  if (flag === '--dir' && dir !== undefined && rest.length === 0) return dir;
  console.error(USAGE);
  process.exit(2);
}

function howToTalk({ url, cluster, nodes, dir }: LocalCluster): string {
  const mraft = `node dist/tools/mraft.js`;
  const where = `--nats ${url} --cluster ${cluster}`;
  const lines = [
    `Three nodes serve the cluster '${cluster}' at ${url} (pids ${nodes.map((node) => node.pid).join(', ')};`,
    `logs and data in ${dir}). In another terminal:`,
    '',
    `  ${mraft} kv put ${where} hello world`,
    `  ${mraft} kv get ${where} hello`,
    `  ${mraft} kv scan ${where} --gte a --lt z`,
    `  ${mraft} ctl region list ${where}`,
    `  ${mraft} ctl node list ${where} --json`,
    '',
    'or with any NATS client, such as the stock command line tool:',
    '',
    `  nats --server ${url} request mraft.${cluster}.kv.put '{"key": "hello", "value": "world"}'`,
    `  nats --server ${url} request mraft.${cluster}.kv.get '{"key": "hello"}'`,
    `  nats --server ${url} micro list`,
    '',
    'or from a program:',
    '',
    `  import { connect } from 'mraft/client';`,
    `  const kv = await connect({ servers: '${url}', cluster: '${cluster}' });`,
    '',
    'Ctrl-C stops them.',
  ];
  return lines.join('\n');
}

try {
  await main();
} catch (error) {
  console.error(error instanceof ProgramMissing ? error.message : error);
  process.exitCode = 1;
}
