/** A progress bar on standard error; silent when that is no terminal. */

import { SingleBar } from 'cli-progress';

export interface Progress {
  /** What is being done now. */
  phase(text: string): void;
  update(phase: string, done: number, operations: number): void;
  stop(): void;
}

const STEPS = 1000;

export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return { phase() {}, update() {}, stop() {} };
  const bar = new SingleBar({
    format: '{title} {bar} {percentage} % {operations}',
    hideCursor: true,
    clearOnComplete: true,
    stream,
  });
  bar.start(STEPS, 0, { title: '', operations: '' });
  let prefix = '';
  return {
    phase(text) {
      prefix = text;
      bar.update(0, { title: text, operations: '' });
    },
    update(phase, done, operations) {
      bar.update(Math.round(done * STEPS), {
        title: prefix === '' ? phase : `${prefix}: ${phase}`,
        operations: operations === 0 ? '' : `${operations.toLocaleString('en-US')} operations`,
      });
    },
    stop() {
      bar.stop();
    },
  };
}
