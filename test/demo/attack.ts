/** Step 6: the node guard is killed, and somebody else flushes the node's firewall. */
import type { ChildProcess } from 'node:child_process'
import { isReady } from '../sandbox/index.ts'
import type { Output } from './output.ts'
import { accessKeyOf, CREDENTIALS_URL, DATADOG_ROLE, PROJECT, type Stage } from './stage.ts'

/**
 * @param pod the annotated pod
 * @param plain a pod without annotation
 * @param key the access key id the annotated pod had before
 */
export async function showResilience(stage: Stage, out: Output, pod: string, plain: string, key: string) {
  out.step('The node guard is killed, the firewall flushed: the block stands or heals, credentials stay')
  const guard = await stage.guard()
  const refused = async () =>
    (await stage.inPod(plain, 'curl', '-s', '--max-time', '10', CREDENTIALS_URL)).code === 7
  const served = async () => {
    const { stdout } = await stage.inPod(
      pod,
      'curl',
      '-s',
      '--max-time',
      '10',
      CREDENTIALS_URL + DATADOG_ROLE,
    )
    return accessKeyOf(stdout) === key
  }

  const prober = probe(stage, plain)
  await prober.started
  const flushed = await stage.exec('node', ['nft', 'flush', 'ruleset'])
  if (flushed.code !== 0) throw new Error(`nft flush ruleset failed: ${flushed.stderr}`)
  out.ran('nft flush ruleset            # on the node, by another agent')
  await stage.pods.waitForLog(guard, 'firewall', /rules repaired/)
  const gap = await prober.stop()
  out.say(`a prober in pod plain tried ${gap.attempts} times; ${whatGotThrough(gap)}`)
  // Before its poll of ten seconds would have done it; how quickly is what the line above tells.
  out.shows((await refused()) && gap.openMs < 5000, 'the firewall put its rules back by itself')
  out.shows(await served(), 'the annotated pod kept its credentials')

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

function restarts(pod: Parameters<typeof isReady>[0]): number {
  const { initContainerStatuses = [], containerStatuses = [] } = pod?.status ?? {}
  return [...initContainerStatuses, ...containerStatuses].reduce(
    (sum, { restartCount }) => sum + restartCount,
    0,
  )
}

function whatGotThrough({ answered, openMs }: Gap): string {
  return answered === 0
    ? 'nothing got through'
    : `${answered} got through, for ${openMs.toFixed(0)} ms (with guard.ownedTable nobody else can flush the rules)`
}

type Gap = { readonly attempts: number; readonly answered: number; readonly openMs: number }

/** Connects to the real endpoint from a pod as fast as it can and counts what is not refused. */
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
