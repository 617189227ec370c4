/** Step 6: the node guard is killed, and somebody else flushes the node's firewall. */
import type { ChildProcess } from 'node:child_process'
import { isReady, type KubeObject } from '../sandbox/index.ts'
import { SYSTEM_NAMESPACE } from '../sandbox/install.ts'
import { eventually } from '../support/until.ts'
import type { Output } from './output.ts'
import { accessKeyOf, CREDENTIALS_URL, DATADOG_ROLE, PROJECT, type Stage } from './stage.ts'

/**
 * @param pod the annotated pod
 * @param plain a pod without an annotation
 * @param key the access key id that the annotated pod had before
 */
export async function showResilience(stage: Stage, out: Output, pod: string, plain: string, key: string) {
  out.step('The firewall is flushed, the node guard killed: the block stands or heals, credentials stay')
  const refused = async () =>
    (await stage.inPod(plain, 'curl', '-s', '--max-time', '10', CREDENTIALS_URL)).code === 7
  const served = async () => {
    const asked = await stage.inPod(pod, 'curl', '-s', '--max-time', '10', CREDENTIALS_URL + DATADOG_ROLE)
    return accessKeyOf(asked.stdout) === key
  }
  await showFlushes(stage, out, plain, refused)
  out.shows(await served(), 'the annotated pod kept its credentials')

  const guard = await stage.guard()
  for (const container of ['firewall', 'broker']) stage.pods.kill(guard, container)
  out.ran('kill -9 firewall broker      # both processes of the node guard')
  out.shows(
    await refused(),
    'the rules stay without their keeper: the pod without annotation is still refused',
  )
  out.shows(await served(), 'the sidecar answers from memory: same credentials, nobody noticed')
  await stage.pods.waitFor(guard, (found) => restarts(found) >= 2 && isReady(found))
  out.shows((await refused()) && (await served()), 'the node guard is back and has verified the block again')
}

/** The same flush twice: with the default rules, and with a table that the firewall owns. */
async function showFlushes(stage: Stage, out: Output, plain: string, refused: () => Promise<boolean>) {
  out.say('Another agent of the node flushes the firewall. First with the default settings:')
  const healed = await flush(stage, out, plain)
  // This must happen before its poll every ten seconds would repair the rules; the table below shows how quickly it was.
  out.shows((await refused()) && healed.openMs < 5000, 'the firewall put its rules back by itself')

  const { code, stdout } = await stage.exec('node', ['nft', 'list', 'tables'])
  if (code !== 0 || !stdout.includes('pod2iam_guard'))
    return out.leftOut('the same with guard.ownedTable', 'needs nftables in the kernel')
  out.ran('helm upgrade pod2iam charts/pod2iam --set guard.ownedTable=true')
  await ownTable(stage)
  const kept = await flush(stage, out, plain)
  out.say(`What pod plain reached of the real endpoint during ${FLUSHES} flushes each:`)
  for (const row of gapTable(healed, kept)) out.say(row)
  out.shows(
    (await refused()) && kept.answered === 0,
    'with guard.ownedTable nothing gets through: nobody else can flush these rules',
  )
}

/** One flush may fall between two connections of the prober. */
const FLUSHES = 5

/** Flushes the node's rules while a prober runs, and waits each time until the firewall has restored its own. */
async function flush(stage: Stage, out: Output, plain: string): Promise<Gap> {
  const guard = await stage.guard()
  const repairs = () => stage.pods.logs(guard, 'firewall').match(/rules repaired/g)?.length ?? 0
  const prober = probe(stage, plain)
  await prober.started
  out.ran(`nft flush ruleset            # on the node, by another agent, ${FLUSHES} times`)
  for (let times = 0; times < FLUSHES; times++) {
    const before = repairs()
    const flushed = await stage.exec('node', ['nft', 'flush', 'ruleset'])
    if (flushed.code !== 0) throw new Error(`nft flush ruleset failed: ${flushed.stderr}`)
    await eventually('the rules put back', () => repairs() > before)
  }
  return await prober.stop()
}

/** Two results side by side, as lines of columns. */
export function gapTable(byDefault: Gap, owned: Gap): string[] {
  const row = (name: string, ...cells: string[]) =>
    `  ${name.padEnd(30)}${cells.map((cell) => cell.padStart(14)).join('')}`
  const result = (name: string, { attempts, answered, openMs }: Gap) =>
    row(name, String(attempts), String(answered), `${openMs.toFixed(0)} ms`)
  return [
    row('', 'connections', 'got through', 'open in all'),
    result('default: rules are put back', byDefault),
    result('guard.ownedTable: rules stay', owned),
  ]
}

/** Restarts the node guard with the flag that the value of the chart sets. */
async function ownTable(stage: Stage): Promise<void> {
  const before = await stage.guard()
  type Guard = KubeObject & { spec: { template: { spec: { initContainers: Args[]; containers: Args[] } } } }
  type Args = { name: string; args?: string[] }
  const guard = await stage.kube.get<Guard>('daemonsets', 'pod2iam-node-guard', SYSTEM_NAMESPACE)
  const { initContainers, containers } = guard.spec.template.spec
  const firewall = [...initContainers, ...containers].find(({ name }) => name === 'firewall')
  if (firewall === undefined) throw new Error('the node guard has no container "firewall"')
  firewall.args = [
    ...(firewall.args ?? []).filter((arg) => !arg.startsWith('--owned-table')),
    '--owned-table=true',
  ]
  await stage.kube.apply(guard)
  await eventually('another node guard', async () => (await stage.guard()) !== before)
  await stage.pods.waitFor(await stage.guard(), isReady)
}

function restarts(pod: Parameters<typeof isReady>[0]): number {
  const { initContainerStatuses = [], containerStatuses = [] } = pod?.status ?? {}
  return [...initContainerStatuses, ...containerStatuses].reduce(
    (sum, { restartCount }) => sum + restartCount,
    0,
  )
}

/** The result of a prober. */
export type Gap = { readonly attempts: number; readonly answered: number; readonly openMs: number }

/** Connects from a pod to the real endpoint as fast as possible, and counts the connections that are not refused. */
function probe(stage: Stage, pod: string): { started: Promise<void>; stop: () => Promise<Gap> } {
  const child = stage.spawn(stage.pods.network(pod), [process.execPath, `${PROJECT}test/demo/prober.ts`])
  const lines = linesOf(child)
  return {
    started: lines.next(),
    stop: async () => {
      child.stdin?.end()
      await lines.next()
      return JSON.parse(lines.last()) as Gap
    },
  }
}

function linesOf(child: ChildProcess): { next: () => Promise<void>; last: () => string } {
  let text = ''
  let wake = () => {}
  let taken = 0
  const complete = () => text.split('\n').slice(0, -1)
  child.stdout?.on('data', (chunk) => {
    text += chunk
    wake()
  })
  return {
    last: () => complete().at(-1) ?? '{}',
    next: async () => {
      while (complete().length <= taken)
        await new Promise<void>((resolve, reject) => {
          wake = resolve
          child.once('exit', () => reject(new Error('the prober ended')))
        })
      taken++
    },
  }
}
