/**
 * `npm run test:kubernetes`: runs test/cluster on a real Kubernetes of two nodes on this machine. This process prepares what needs the machine's
 * network, starts inside.ts in namespaces with which everything ends, and removes what namespaces do not remove: a directory and cgroups.
 * See README.md for the rest; the options are those of `npm run test:cluster`.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { settingsOrExit } from '../../common/settings.ts'
import { needsImageSystem } from '../peers/peers.ts'
import { tool } from '../sandbox/node/tools.ts'
import { removeCgroups } from './cgroups.ts'
import { makeImages } from './images.ts'
import { KUBERNETES_OPTIONS } from './options.ts'
import { pluginDirectory, provide } from './requirements.ts'

const INSIDE = fileURLToPath(new URL('inside.ts', import.meta.url))
const NAMESPACES = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'] as const

// Mistakes in the options are reported before anything is made.
const { kubernetes, logs } = settingsOrExit('pod2iam test:kubernetes', KUBERNETES_OPTIONS)
// Selects the programs that `peer` finds, in this process and in those that it starts.
process.env.POD2IAM_KUBERNETES = kubernetes
const missing = provide(progress)
if (missing.length > 0) {
  for (const sentence of missing) console.error(`pod2iam test:kubernetes: ${sentence}`)
  process.exit(1)
}

const directory = mkdtempSync(join(tmpdir(), 'pod2iam-kubernetes-'))
const cgroup = `pod2iam-kubernetes-${process.pid}`
try {
  progress(`building the images, with nft and iptables ${toolsOrigin()}`)
  makeImages(join(directory, 'images'))
  process.exitCode = await inside({ directory, cgroup, plugins: pluginDirectory() ?? '' })
} finally {
  await removeCgroups(cgroup)
  if (logs !== undefined) keepLogs(logs)
  rmSync(directory, { recursive: true, force: true })
}

/** Runs inside.ts to its end, and passes signals on to it; returns its exit code. */
async function inside(place: { directory: string; cgroup: string; plugins: string }): Promise<number> {
  const argv = [
    ...NAMESPACES,
    '--',
    process.execPath,
    INSIDE,
    JSON.stringify(place),
    ...process.argv.slice(2),
  ]
  // `unshare` is killed when this process ends, for whatever reason, and everything in its namespaces with it.
  const child = spawn(tool('setpriv'), ['--pdeathsig=KILL', '--', tool('unshare'), ...argv], {
    stdio: 'inherit',
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => tell(child, signal))
  const [code] = await once(child, 'exit')
  return code ?? 1
}

/** The signal goes to the children of `unshare`, which itself only waits. */
function tell({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    for (const child of readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean))
      process.kill(Number(child), signal)
  } catch {
    // It has ended.
  }
}

/** Which programs the node guard's image gets: those of released images, or, if they are not installed, the machine's and why. */
function toolsOrigin(): string {
  const { skip } = needsImageSystem()
  return skip === undefined ? 'of Debian trixie, as released images have them' : `of this machine: ${skip}`
}

/** Copies each program's log to the same path below `to` as below the run's directory. */
function keepLogs(to: string): void {
  for (const file of globSync('*/*.log', { cwd: directory }))
    cpSync(join(directory, file), join(to, file), { recursive: true })
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}
