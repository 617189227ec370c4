import type { V1Pod } from '@kubernetes/client-node'
import type { Cluster } from '../cluster/cluster.ts'
import { findInstallation } from '../cluster/installation.ts'
import { readPod } from '../cluster/pods.ts'
import { CliError } from '../failure.ts'
import { exitCode, type Outcome, type Page } from '../outcome.ts'
import { refusalsText } from '../output/refusals.ts'
import { withoutCommonStart } from '../output/shorten.ts'
import { indented, table } from '../output/table.ts'
import { type Holder, holdersOf, injectedPods } from './holders.ts'

/** Up to this number, sidecars are asked without `--expiry`. */
const ASKED_BY_ITSELF = 50

export type WhoOptions = {
  /** Given on the command line; without it, the whole cluster. */
  readonly namespace?: string
  readonly role?: string
  /** Asks every sidecar, no matter how many there are. */
  readonly expiry?: boolean
}

/** `who [POD]`: which pod has which role, and its session name in CloudTrail. */
export async function who(
  cluster: Cluster,
  pod: string | undefined,
  options: WhoOptions,
  now = Date.now,
): Promise<Outcome> {
  const pods = await podsFor(cluster, pod, options.namespace)
  const installation = await findInstallation(cluster)
  const isAsking = options.expiry ?? pods.length <= ASKED_BY_ITSELF
  const holders = await holdersOf(cluster, installation, pods, { isAsking, role: options.role, now })
  if (pod !== undefined && holders.length === 0)
    throw new CliError(
      'not-injected',
      `pod ${pod} in namespace ${cluster.namespace} has no sidecar, so it has no role`,
      `pod2iam explain ${pod} says why`,
    )
  const refused = cluster.refusals()
  return {
    data: { pods: holders, refused },
    text: (page) => holdersText(holders, now(), page) + refusalsText(refused, page),
    exit: exitCode(
      holders.some((one) => one.refused !== null),
      false,
    ),
  }
}

/** @returns pods that were injected; only those of one namespace if the others may not be read */
async function podsFor(
  cluster: Cluster,
  name: string | undefined,
  given: string | undefined,
): Promise<readonly V1Pod[]> {
  const { namespace } = cluster
  if (name !== undefined) {
    const pod = await readPod(cluster, namespace, name)
    if (pod.kind === 'found') return [pod.value]
    throw pod.kind === 'forbidden'
      ? forbidden('get', namespace)
      : new CliError(
          'not-found',
          `there is no pod ${name} in namespace ${namespace}`,
          'pod2iam who lists them, and -n selects another namespace',
        )
  }
  const found = (await injectedPods(cluster, given)) ?? (await injectedPods(cluster, namespace))
  if (found === undefined) throw forbidden('list', namespace)
  return found
}

const forbidden = (verb: string, namespace: string) =>
  new CliError(
    'forbidden',
    `you may not ${verb} pods in namespace ${namespace}`,
    'ask for that permission, or name another namespace with -n',
  )

function holdersText(holders: readonly Holder[], now: number, page: Page): string {
  if (holders.length === 0) return 'No pod has a sidecar.\n'
  const arns = holders.flatMap(({ role }) => role ?? [])
  const { common } = withoutCommonStart(arns, ':role/')
  const rows = holders.map((one) => [
    `${one.namespace}/${one.pod}`,
    one.role?.slice(common.length) ?? '-',
    one.source,
    one.session ?? '-',
    expiresText(one, now),
    readyText(one, page),
  ])
  const unready = holders.find(({ ready, refused }) => !ready || refused !== null)
  const hint =
    unready === undefined
      ? ''
      : `\n${indented(`pod2iam -n ${unready.namespace} explain ${unready.pod} says why it is not ready.`, 0, page)}\n`
  const below = common === '' ? '' : `\nAll roles begin with ${common}\n`
  return (
    table(['POD', 'ROLE', 'FROM', 'SESSION', 'EXPIRES', 'READY'], rows, page) +
    below +
    narrowedText(holders, page) +
    hint
  )
}

/** Below the table: ARNs of policies would make it too wide. */
function narrowedText(holders: readonly Holder[], page: Page): string {
  const lines = holders
    .filter(({ narrowedBy }) => narrowedBy.length > 0)
    .map((one) => `${one.namespace}/${one.pod} is narrowed by ${one.narrowedBy.join(' and ')}`)
  return lines.length === 0 ? '' : `\n${lines.map((line) => `${indented(line, 0, page)}\n`).join('')}`
}

function readyText({ ready, refused }: Holder, { paint }: Page): string {
  if (refused !== null) return paint('bad', refused)
  return ready ? paint('good', 'yes') : paint('warning', 'no')
}

function expiresText({ expires, isAsked }: Holder, now: number): string {
  if (expires === null) return isAsked ? 'none' : 'not asked'
  return `in ${Math.max(0, Math.round((Date.parse(expires) - now) / 60_000))} min`
}
