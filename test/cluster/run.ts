/** The course of a run: prepares the open cluster, shows the promises, removes everything. */
import { randomBytes } from 'node:crypto'
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import { realAws } from './aws/real.ts'
import { installStandIn } from './aws/stand-in.ts'
import { cleanUp } from './cleanup.ts'
import { type Context, type Run, valuesOf } from './context.ts'
import { makeNamespace, namespacesOf } from './namespaces.ts'
import { chooseAws, preflight } from './preflight.ts'
import { bundlePrograms } from './programs/bundle.ts'
import { type Group, showGroup, type Verdict } from './promise.ts'
import { changes } from './promises/changes.ts'
import { churn } from './promises/churn.ts'
import { identities } from './promises/identities.ts'
import { installation } from './promises/installation.ts'
import { operator } from './promises/operator.ts'
import { outages } from './promises/outages.ts'
import { reboot } from './promises/reboot.ts'
import { refusals } from './promises/refusals.ts'
import { severalNodes } from './promises/several-nodes.ts'
import { starts } from './promises/starts.ts'
import { throughout } from './promises/throughout.ts'
import { uninstall } from './promises/uninstall.ts'
import { upgrade } from './promises/upgrade.ts'
import { workloads } from './promises/workloads.ts'

/** What a run is given: an open cluster and how to use it. */
export type World = Pick<Context, 'access' | 'options' | 'signal' | 'progress'>

export type Outcome = {
  readonly verdicts: readonly Verdict[]
  /** What could not be removed, a sentence each. */
  readonly left: readonly string[]
}

/** Only its account is read before AWS is chosen. */
export const NO_ROLE = 'arn:aws:iam::000000000000:role/none'

/** In this order: the last group removes pod2iam. */
export const groups = (): Group[] => [
  installation,
  workloads,
  refusals,
  operator,
  identities,
  churn,
  starts,
  upgrade(),
  changes,
  outages,
  severalNodes,
  reboot,
  throughout,
  uninstall,
]

/** @throws Error with a sentence when the cluster cannot be used; then nothing was made in it, or it was removed again */
export async function run(world: World): Promise<Outcome> {
  const verdicts: Verdict[] = []
  const left: string[] = []
  const ground = await survey(world)
  try {
    const context = await prepare(ground)
    for (const group of chosen(world)) {
      verdicts.push(...(await showGroup(context, group)))
      if (group === installation && verdicts.some(({ outcome }) => outcome === 'broken')) break
    }
  } catch (error) {
    if (!world.signal.aborted) throw error
  } finally {
    left.push(...(await cleanUp(ground)))
  }
  return { verdicts, left }
}

/** The groups whose titles contain a word of `--only`; all groups without that option. Installation is always one of them. */
function chosen({ options }: World): Group[] {
  const named = ({ title }: Group) =>
    options.only.some((word) => title.toLowerCase().includes(word.toLowerCase()))
  return groups()
    .filter((group) => group !== starts || options.starts > 0)
    .filter((group) => group === installation || options.only.length === 0 || named(group))
}

export type Ground = Context & {
  readonly choice: 'real' | 'stand-in'
  /** The stand-in may take the place of what answers at the metadata address. */
  readonly replace: boolean
}

/** Looks at the cluster and decides, without creating anything in it. */
export async function survey(world: World): Promise<Ground> {
  const { options, access } = world
  const found = await preflight(access, options)
  const choice = chooseAws(options, found)
  const aws = realAws(options.role ?? NO_ROLE, found.region)
  world.progress(`${access.title}, Kubernetes ${found.version}`)
  const replace = options.aws === 'stand-in' || found.onKind
  return { ...world, choice, replace, aws, run: await newRun(world, aws) }
}

/** Makes the namespaces and AWS. */
export async function prepare(ground: Ground): Promise<Context> {
  const { choice, replace, progress } = ground
  const aws = choice === 'real' ? ground.aws : await installStandIn(ground, { replace })
  progress(aws.title)
  const context = { ...ground, aws }
  for (const namespace of namespacesOf(context)) await makeNamespace(context, namespace)
  return context
}

/** An id, the programs, and the image that runs them: the operator's, or else the node guard's. */
async function newRun({ access, options }: World, aws: Context['aws']): Promise<Run> {
  const programs = await bundlePrograms()
  const id = randomBytes(3).toString('hex')
  const { nodeImage, nodeCommand } = options
  if (nodeImage !== undefined) return { id, programs, image: nodeImage, node: nodeCommand ?? 'node' }
  const none: Run = { id, programs, image: '', node: '' }
  const objects = await access.installation.render(valuesOf({ options, aws, run: none }))
  return { ...none, image: guardImage(objects), node: nodeCommand ?? access.nodeOfImages }
}

function guardImage(objects: readonly KubeObject[]): string {
  type DaemonSet = { spec?: { template: { spec: { containers: { image: string }[] } } } }
  const found = objects.find(({ kind }) => kind === 'DaemonSet') as DaemonSet | undefined
  const image = found?.spec?.template.spec.containers[0]?.image
  if (image === undefined) throw new Error('the chart renders no node guard; is --chart the one of pod2iam?')
  return image
}
