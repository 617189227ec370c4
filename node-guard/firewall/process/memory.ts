/**
 * Flags of V8 that keep the guard small, with what each saves of its private memory after 300 repairs in a row
 * (Node 24; docs/benchmarks.md). They are set at run time, since the command line belongs to
 * the operator who starts the container.
 */
const FLAGS = [
  // Every garbage collection is a full one, some 5 ms: what a child process leaves behind outlives two scavenges, and
  // would then not be collected before the heap has doubled. 6 MiB.
  '--gc-global',
  // The young generation stays at its initial 1 MiB. 5 MiB.
  '--semi-space-growth-factor=1',
  // No optimizing compilers: a guard is idle most of the time, and otherwise waits for nft. 3 MiB.
  '--no-opt',
  '--no-maglev',
  '--no-sparkplug',
]

/** Keeps this process small from now on, at the price of some CPU. Called first, since a heap that has grown stays: 2 MiB. */
export function reduceMemoryUse(): void {
  const v8 = process.getBuiltinModule('node:v8')
  for (const flag of FLAGS) v8.setFlagsFromString(flag)
}
