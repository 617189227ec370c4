/**
 * Upgrades and rollbacks of every value that changes what is injected, and from and to the previous release, while three clients
 * create pods by dry-run: as users create them, with a forged sidecar, and as a changed copy of an admitted one.
 */
import { type Admissions, admissions, candidates, type Taken, tampered } from '../../injector/admissions.ts'
import { OTHER_KEY } from '../../injector/injected-settings.ts'
import { type Change, changesOf } from '../changes.ts'
import { type ChartValues, type Context, namespaceOf, valuesOf } from '../context.ts'
import { ROLE } from '../pods.ts'
import { expect, type Group, type Promised } from '../promise.ts'
import { formerInjectorsGone, guardsReady, injectorReady } from '../rollout.ts'
import { onlyNodes } from './throughout.ts'

/** Admissions of each client before and after each rollout: more than there are kinds of pods. */
const EACH = 12
/** What shows that a webhook did not answer, for whatever reason. */
const UNANSWERED = /failed calling webhook/

type Rollout = {
  readonly what: string
  /** What the operator does. */
  readonly act: () => Promise<void>
  /** Reviews that ending replicas leave unanswered are counted, but do not break the promise. */
  readonly leavesPrevious?: boolean
}

const NAMES = Object.keys(changesOf({}))

export const changes: Group = {
  title: 'Upgrades and rollbacks refuse no pod, whatever they change',
  leftOut: ({ options }) => (options.installed ? 'the installed pod2iam is left as it is' : undefined),
  promises: [...NAMES.map(ofValue), ofPreviousRelease()],
}

function ofValue(name: string): Promised {
  return {
    name,
    leftOut: ({ options, access }) => {
      if (options.changes.length > 0 && !options.changes.includes(name)) return 'not among --changes'
      return access.installation.fixedValues ?? changeOf(options, name).leftOut
    },
    show: async (context) => {
      const { values, opens = false, otherKey = false } = changeOf(context.options, name)
      const { aws, access } = context
      if (opens) await onlyNodes(aws)
      await access.installation.apply(ours(context))
      const evidence = await underLoad(context, otherKey ? [ROLE, OTHER_KEY] : [ROLE], [
        { what: 'upgrade', act: () => access.installation.apply(ours(context, values)) },
        { what: 'rollback', act: () => access.installation.rollback() },
      ])
      if (opens) await aws.forgetVisitors?.()
      return evidence
    },
  }
}

function ofPreviousRelease(): Promised {
  return {
    name: 'the previous release',
    leftOut: ({ options }) =>
      options.previousChart === undefined ? '--previous-chart names no chart of it' : undefined,
    show: async (context) => {
      const { installation } = context.access
      const previous = () =>
        installation.apply(
          valuesOf(context, { revision: '2', previous: true, more: { injector: replicas(context) } }),
          'previous',
        )
      const up = () => installation.apply(ours(context))
      await up()
      return underLoad(
        context,
        [ROLE],
        [
          { what: 'to it', act: previous },
          { what: 'upgrade from it', act: up, leavesPrevious: true },
          { what: 'rollback to it', act: () => installation.rollback() },
          { what: 'upgrade again', act: up, leavesPrevious: true },
        ],
      )
    },
  }
}

function changeOf(options: Context['options'], name: string): Change {
  const change = changesOf(options)[name]
  if (change === undefined) throw new Error(`there is no change ${name}`)
  return change
}

/** Values of this release. In the sandbox endpoints are removed at once, so a short drain is enough. */
function ours(context: Context, more: ChartValues = {}) {
  const drain = context.options.dry ? { drainSeconds: 1 } : {}
  const injector = { ...replicas(context), ...drain, ...more.injector }
  return valuesOf(context, { revision: '2', more: { ...more, injector } })
}

/** In the sandbox one more than usual, so that replicas with two settings serve side by side. */
function replicas({ options }: Context): { readonly replicas?: number } {
  return options.dry ? { replicas: 2 } : {}
}

/** Makes the rollouts one after the other; returns what was counted for each. @throws Error with what went wrong */
export async function underLoad(
  context: Context,
  keys: readonly string[],
  rollouts: readonly Rollout[],
): Promise<string> {
  await settled(context)
  const { access, run, aws } = context
  const annotations = Object.fromEntries(keys.map((key) => [key, aws.role]))
  const asking = { namespace: namespaceOf(run, 'shop'), annotations }
  const pods = [...candidates(asking), ...(await tampered(access.kube, asking))]
  const clients = admissions(access.kube, pods, aws.role)
  const evidence: string[] = []
  try {
    for (const rollout of rollouts) evidence.push(await rolledOut(context, clients, rollout))
  } finally {
    await clients.end()
  }
  return `${evidence.join('; ')}; 0 refused, 0 left alone`
}

async function rolledOut(context: Context, clients: Admissions, rollout: Rollout): Promise<string> {
  const { what, act, leavesPrevious = false } = rollout
  await clients.more(EACH)
  await act()
  await settled(context)
  const during = clients.taken()
  await clients.more(EACH)
  const afterwards = clients.taken()
  const unanswered = leavesPrevious ? count(during.wrong, UNANSWERED) : 0
  expectNothingWrong(what, during, leavesPrevious ? UNANSWERED : undefined)
  expectNothingWrong(`after ${what}`, afterwards)
  const left = unanswered > 0 ? `, ${unanswered} left unanswered by replicas of that release that ended` : ''
  return `${what}: ${during.asked + afterwards.asked} admissions${left}`
}

/** Waits until both workloads are as their specs say and the API server calls no former replica. */
export async function settled(context: Context): Promise<void> {
  const [, replicas] = await Promise.all([guardsReady(context), injectorReady(context)])
  await formerInjectorsGone(context, replicas)
}

function expectNothingWrong(what: string, { asked, wrong }: Taken, allowed = /^(?!)/): void {
  const found = Object.entries(wrong).filter(([text]) => !allowed.test(text))
  const total = found.reduce((sum, [, times]) => sum + times, 0)
  const lines = found.map(([text, times]) => `${times} × ${text}`)
  expect(total === 0, [`${what}: ${total} of ${asked} admissions went wrong`, ...lines].join('\n'))
}

function count(wrong: Taken['wrong'], which: RegExp): number {
  return Object.entries(wrong).reduce((sum, [text, times]) => sum + (which.test(text) ? times : 0), 0)
}
