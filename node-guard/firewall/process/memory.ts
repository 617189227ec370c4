/**
 * Flags of V8 that keep the guard small, with what each saves of its private memory after 300 repairs one after the
 * other (Node 24; docs/benchmarks.md). Set at run time: the command line is that of whoever
 * starts the container.
 */
const FLAGS = [
  // Every collection a whole one, some 5 ms: what a child process leaves behind outlives two scavenges, and is then
  // not looked at again before the heap has doubled. 6 MiB.
  '--gc-global',
  // The young generation stays at the 1 MiB it starts with. 5 MiB.
  '--semi-space-growth-factor=1',
  // No compiled code: a guard does nothing most of the time, and waits for nft when it does. 3 MiB.
  '--no-opt',
  '--no-maglev',
  '--no-sparkplug',
]

/** Keeps this process small from now on, at the price of some CPU. First of all: what start has grown stays. 2 MiB. */
export function spareMemory(): void {
  const v8 = process.getBuiltinModule('node:v8')
  for (const flag of FLAGS) v8.setFlagsFromString(flag)
}
