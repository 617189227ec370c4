/** Removes everything that a run made, by its label. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import { RESOURCES } from '../sandbox/kube/objects/resources.ts'
import { isApiError } from '../sandbox/kube/objects/status.ts'
import { type Context, LABEL, NAMESPACE_PREFIX, type Run, valuesOf } from './context.ts'
import { until } from './promise.ts'
import { GUARD, guardsReady } from './rollout.ts'

type World = Pick<Context, 'access' | 'options' | 'aws' | 'progress'> & { readonly run: Pick<Run, 'id'> }

/** The longest wait for guards to remove their rules, seconds. */
const REMOVE_SECONDS = 120

/**
 * Removes the chart in the documented order if it is still there, then namespaces and whatever else has the label. Continues after a
 * step that failed.
 *
 * @returns what could not be removed, a sentence each
 */
export async function cleanUp(world: World): Promise<string[]> {
  const problems: string[] = []
  const step = async (what: string, action: () => Promise<unknown>) => {
    try {
      await action()
    } catch (error) {
      problems.push(`${what}: ${error instanceof Error ? error.message : error}`)
    }
  }
  // The interrupt that caused this cleanup must not end it as well.
  const { signal } = new AbortController()
  if (!world.options.installed) await step('the chart', () => removeChart(world, signal))
  await step('labelled objects', () => removeLabelled(world))
  await step('namespaces', () => removeNamespaces({ ...world, signal }))
  return problems
}

async function removeChart(world: World, signal: AbortSignal): Promise<void> {
  const { access, options } = world
  const labelled = `${LABEL}=${world.run.id}`
  const { items } = await access.kube.list('daemonsets', {
    namespace: options.namespace,
    labelSelector: labelled,
  })
  if (!items.some(({ metadata }) => metadata.name === GUARD)) return
  world.progress('removing pod2iam')
  try {
    await access.installation.apply(valuesOf(world, { mode: 'remove', revision: 'cleanup' }))
    const waitSeconds = Math.min(options.waitSeconds, REMOVE_SECONDS)
    await guardsReady({ access, signal, options: { ...options, waitSeconds } })
  } finally {
    await access.installation.uninstall()
  }
}

/** Objects that are in no namespace; the others are deleted with their namespaces. */
async function removeLabelled({ access, run }: World): Promise<void> {
  for (const { plural, group, namespaced, virtual } of RESOURCES) {
    if (namespaced || virtual || plural === 'namespaces' || plural === 'nodes') continue
    const resource = `${plural}${group === '' ? '' : `.${group}`}`
    for (const { metadata } of await labelled(access, resource, run.id))
      await gone(access.kube.delete(resource, metadata.name ?? ''))
  }
}

async function removeNamespaces(world: World & Pick<Context, 'signal'>): Promise<void> {
  const { access, run } = world
  const find = async () =>
    Object.groupBy(await namesOf(access, run.id), (name) => (isMade(name, world) ? 'made' : 'others'))
  const { made = [], others = [] } = await find()
  if (made.length > 0) world.progress(`removing ${made.length} namespaces`)
  for (const name of made) await gone(access.kube.delete('namespaces', name))
  await until(world, 'the end of the test’s namespaces', async () => {
    const left = (await find()).made ?? []
    if (left.length > 0) throw new Error(left.join(', '))
    return true
  })
  if (others.length > 0)
    throw new Error(
      `${others.join(', ')} stay, since the test makes none of these names: take the label ${LABEL} away, or pass --namespace`,
    )
}

async function namesOf(access: Context['access'], id: string): Promise<string[]> {
  return (await labelled(access, 'namespaces', id)).map(({ metadata }) => metadata.name ?? '')
}

/** A label can be copied, so a namespace that is deleted must also have a name of the test's. */
function isMade(name: string, { options }: World): boolean {
  return name.startsWith(NAMESPACE_PREFIX) || name === options.namespace
}

async function labelled({ kube }: Context['access'], resource: string, id: string): Promise<KubeObject[]> {
  try {
    return (await kube.list(resource, { labelSelector: `${LABEL}=${id}` })).items
  } catch (error) {
    if (isApiError(error, 404)) return []
    throw error
  }
}

async function gone(deletion: Promise<unknown>): Promise<void> {
  await deletion.catch((error: unknown) => {
    if (!isApiError(error, 404)) throw error
  })
}

/** Runs whose namespaces are still there. */
export async function runsLeft({ kube }: Context['access']): Promise<string[]> {
  const { items } = await kube.list('namespaces', { labelSelector: LABEL })
  return [...new Set(items.flatMap(({ metadata }) => metadata.labels?.[LABEL] ?? []))]
}
