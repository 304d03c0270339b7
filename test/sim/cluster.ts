/** The name of the one cluster of a run. */
export const CLUSTER = 'simulated';
