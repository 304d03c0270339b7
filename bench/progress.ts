/** A progress bar on standard error; silent when that is no terminal. */

import { SingleBar } from 'cli-progress';

export interface Progress {
  /** What is being done now, and stands before every later step. */
  readonly phase: (text: string) => void;
  readonly update: (step: string, done: number, operations: number) => void;
  readonly stop: () => void;
}

const STEPS = 1000;

export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return { phase: () => {}, update: () => {}, stop: () => {} };
  const bar = new SingleBar({
    format: '{title} {bar} {percentage} % {operations}',
    hideCursor: true,
    clearOnComplete: true,
    stream,
  });
  bar.start(STEPS, 0, { title: '', operations: '' });
  let prefix = '';
  return {
    phase: (text) => {
      prefix = text;
      bar.update(0, { title: text, operations: '' });
    },
    update: (step, done, operations) => {
      bar.update(Math.round(done * STEPS), {
        title: prefix === '' ? step : `${prefix}: ${step}`,
        operations: operations === 0 ? '' : `${operations.toLocaleString('en-US')} operations`,
      });
    },
    stop: () => bar.stop(),
  };
}
