/** The chart installs, and everything becomes ready. */
import { valuesOf } from '../context.ts'
import { startClients, startProbers } from '../load.ts'
import type { Group } from '../promise.ts'
import { guardsReady, injectorReady } from '../rollout.ts'

export const installation: Group = {
  title: 'Installation',
  // The probers start before the guard, which shows whether a prober would notice an open endpoint.
  prepare: startProbers,
  promises: [
    {
      name: 'the chart installs and becomes ready',
      leftOut: ({ options }) => (options.installed ? 'it was installed before (--installed)' : undefined),
      show: async (context) => {
        await context.access.installation.apply(valuesOf(context))
        const [guards, replicas] = await Promise.all([guardsReady(context), injectorReady(context)])
        await context.aws.forgetVisitors?.()
        return `${guards} node guard(s), ${replicas} injector(s), by ${context.access.installation.by}`
      },
    },
    {
      name: 'annotated pods start',
      show: async (context) => `${await startClients(context)} clients`,
    },
  ],
}
