import { availableParallelism, cpus, release, totalmem } from 'node:os'

/** The machine that the figures were measured on. */
export function machine(): Readonly<Record<'cpu' | 'cores' | 'memory' | 'kernel' | 'node', string>> {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown CPU',
    cores: `${availableParallelism()} cores`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `Linux ${release()}`,
    node: `Node.js ${process.version}`,
  }
}
