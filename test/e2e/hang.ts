/** Loaded into a worker thread by threads.ts: the thread waits for ever, before anything else of it runs. */

setInterval(() => {}, 60_000);
await new Promise(() => {});
