import { drawConfig, describeConfig, type Profile } from './config.ts';
import { simulate } from './simulation.ts';
const seed = Number(process.argv[2] ?? 1), count = Number(process.argv[3] ?? 1);
const profile = (process.argv[4] ?? 'default') as Profile;
const started = performance.now();
let events = 0, calls = 0, failed = 0, undecided = 0, turns = 0;
for (let s = seed; s < seed + count; s++) {
  const config = drawConfig(s, profile);
  const trace = process.env['TRACE'];
  const result = await simulate(config, trace ? { onTrace: (line) => console.log(line) } : {});
  events += result.events; calls += result.calls; failed += result.failedCalls; turns += result.turns; undecided += Number(result.undecided);
  if (count === 1) console.log(describeConfig(config), result);
  if (result.violation) console.log(s, result.violation.check, result.violation.message.slice(0, 1500));
}
const seconds = (performance.now() - started) / 1000;
console.log({ count, seconds, events, turns, calls, failed, undecided, perSeed: seconds / count });
