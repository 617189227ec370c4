/** New guards, brokers and injectors under load. */
import { setTimeout as wait } from 'node:timers/promises'
import { type Context, valuesOf } from '../context.ts'
import { clients, expectClosed, expectServed, probers } from '../load.ts'
import { podObject } from '../pods.ts'
import { expect, type Group } from '../promise.ts'
import { guardsReady, injectorReady } from '../rollout.ts'

const ADMISSION_INTERVAL_MS = 100

type Rollout = {
  readonly guards: number
  readonly probers: Awaited<ReturnType<typeof probers>>
  readonly clients: Awaited<ReturnType<typeof clients>>
  readonly admissions: { asked: number; failed: number; last: string }
}

/** Upgrades once, and looks at it from four sides. */
export function upgrade(): Group {
  let rollout: Rollout | undefined
  const during =
    (look: (context: Context, rollout: Rollout) => Promise<string>) => async (context: Context) => {
      expect(rollout !== undefined, 'there was no rollout')
      return look(context, rollout)
    }
  return {
    title: 'Upgrade under load',
    leftOut: ({ options }) => (options.installed ? 'the installed pod2iam is left as it is' : undefined),
    prepare: async (context) => {
      rollout = await rollOut(context)
    },
    promises: [
      { name: 'every node gets its new guard', show: during(async (_, { guards }) => `${guards} replaced`) },
      {
        name: 'the metadata endpoint never opens',
        show: during((context, rollout) => expectClosed(context, rollout.probers)),
      },
      {
        name: 'running pods never miss an answer',
        show: during((context, rollout) => expectServed(context, rollout.clients)),
      },
      {
        name: 'annotated pods are admitted all the time',
        show: during(async (_, { admissions: { asked, failed, last } }) => {
          expect(failed === 0, `${failed} of ${asked} were refused; the last: ${last}`)
          return `${asked} admissions (dry-run), 0 refused`
        }),
      },
    ],
  }
}

async function rollOut(context: Context): Promise<Rollout> {
  const before = { probers: await probers(context), clients: await clients(context) }
  const admissions = { asked: 0, failed: 0, last: '' }
  const ended = new AbortController()
  const asking = askAdmission(context, admissions, ended.signal)
  try {
    await context.access.installation.apply(valuesOf(context, { revision: '2' }))
    const [guards] = await Promise.all([guardsReady(context), injectorReady(context)])
    return { ...before, guards, admissions }
  } finally {
    ended.abort()
    await asking
  }
}

/** Has annotated pods admitted, without making them, until told to end. */
async function askAdmission(
  { access, run, aws }: Context,
  admissions: Rollout['admissions'],
  signal: AbortSignal,
): Promise<void> {
  const pod = podObject(run, { app: 'admitted', place: 'shop', role: aws.role })
  while (!signal.aborted) {
    admissions.asked++
    try {
      await access.kube.create(pod, { dryRun: true })
    } catch (error) {
      admissions.failed++
      admissions.last = String(error)
    }
    await wait(ADMISSION_INTERVAL_MS, undefined, { signal }).catch(() => undefined)
  }
}
