/** New guards, brokers and injectors under load. */
import { type Admitted, admittedMeanwhile, expectAdmitted } from '../admitted.ts'
import { type Context, valuesOf } from '../context.ts'
import { clients, expectClosed, expectServed, probers } from '../load.ts'
import { expect, type Group } from '../promise.ts'
import { guardsReady, injectorReady } from '../rollout.ts'

type Rollout = {
  readonly guards: number
  readonly probers: Awaited<ReturnType<typeof probers>>
  readonly clients: Awaited<ReturnType<typeof clients>>
  readonly admissions: Admitted
}

/** Upgrades once, and checks four properties of the rollout. */
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
        show: during(async (_, { admissions }) => expectAdmitted(admissions)),
      },
    ],
  }
}

async function rollOut(context: Context): Promise<Rollout> {
  const before = { probers: await probers(context), clients: await clients(context) }
  const [guards, admissions] = await admittedMeanwhile(context, async () => {
    await context.access.installation.apply(valuesOf(context, { revision: '2' }))
    return (await Promise.all([guardsReady(context), injectorReady(context)]))[0]
  })
  return { ...before, guards, admissions }
}
