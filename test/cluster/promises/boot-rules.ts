/** A node that loads rules at its boot (docs/boot-rules.md), rebooted again and again. */
import { ask, type LivePod, readyPods, refOf, restarts } from '../cluster-pods.ts'
import type { Context } from '../context.ts'
import { CLIENT, clients, expectServed, PROBER } from '../load.ts'
import { guardOn } from '../nodes.ts'
import type { ProberState } from '../programs/reports.ts'
import { expect, type Promised, until } from '../promise.ts'
import { bootAgain } from '../rebooting.ts'
import { guardsReady } from '../rollout.ts'

/** As docs/boot-rules.md has it. */
const TAKE_AWAY = `systemctl disable pod2iam-boot.service
rm /etc/systemd/system/pod2iam-boot.service /etc/pod2iam/boot*
systemctl daemon-reload
`

export const shutFromBoot: Promised = {
  name: 'a node that loads rules at its boot is never open, however often it boots',
  leftOut: ({ access, options }) => {
    if (access.noReboot !== undefined) return access.noReboot
    if (access.runOnNode === undefined) return 'the test cannot run scripts on these nodes'
    return options.bootReboots > 0 ? undefined : 'pass --boot-reboots for it'
  },
  show: rebooted,
}

async function rebooted(context: Context): Promise<string> {
  const { access, options } = context
  const [client] = await readyPods(context, CLIENT.place, CLIENT.app)
  const name = client?.spec.nodeName
  expect(name !== undefined, 'no client runs on a node')
  const runOnNode = access.runOnNode
  expect(runOnNode !== undefined, 'the test cannot run scripts on these nodes')
  await runOnNode(name, await printed(context, name))
  const boots: Boot[] = []
  try {
    while (boots.length < options.bootReboots) {
      const boot = await bootOnce(context, name)
      context.progress(`reboot ${boots.length + 1} of ${options.bootReboots}: ${describeBoots([boot])}`)
      boots.push(boot)
      expect(boot.opened === 0, `reboot ${boots.length} was open; ${describeBoots(boots)}`)
      expect(boot.refused > 0, `at reboot ${boots.length} nothing was refused: nobody tried`)
    }
  } finally {
    // And with one more boot nothing is left of them.
    await runOnNode(name, TAKE_AWAY)
    await bootOnce(context, name)
  }
  await guardsReady(context)
  const served = await expectServed(context, await clients(context))
  return `${describeBoots(boots)}; by ${options.bootBackend}; afterwards ${served}`
}

/** What the prober of a node saw from its beginning until the guard was back. */
export type Boot = Pick<ProberState, 'attempts' | 'opened' | 'refused'> & {
  /** Milliseconds by which the prober began before the guard's container; negative where it was later. */
  readonly ahead: number
}

async function bootOnce(context: Context, name: string): Promise<Boot> {
  const [guard, prober] = [await guardOn(context, name), await proberOn(context, name)]
  await bootAgain(context, name)
  const [guardBack, proberBack] = await until(context, `guard and prober of ${name} again`, async () => {
    const [guardNow, proberNow] = [await guardOn(context, name), await proberOn(context, name)]
    const begun = restarts(guardNow) > restarts(guard) && restarts(proberNow) > restarts(prober)
    return begun && startedAt(guardNow, 'firewall') !== undefined && ([guardNow, proberNow] as const)
  })
  await guardsReady(context)
  const state: ProberState = await until(context, `counts of ${name}'s prober`, async () =>
    JSON.parse(await ask(context, refOf(proberBack), ['state'])),
  )
  const ahead = (startedAt(guardBack, 'firewall') ?? 0) - Date.parse(state.began)
  return { attempts: state.attempts, opened: state.opened, refused: state.refused, ahead }
}

async function proberOn(context: Context, name: string): Promise<LivePod> {
  const pods = await readyPods(context, PROBER.place, PROBER.app)
  const found = pods.find(({ spec }) => spec.nodeName === name)
  expect(found !== undefined, `${name} has no prober`)
  return found
}

/** Milliseconds, of a whole second; undefined where the container does not run. */
function startedAt({ status }: LivePod, name: string): number | undefined {
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  const state = all.find((container) => container.name === name)?.state
  return state !== undefined && 'running' in state ? Date.parse(state.running.startedAt) : undefined
}

/** The evidence, of one or more. */
export function describeBoots(boots: readonly Boot[]): string {
  const sum = (key: 'attempts' | 'opened' | 'refused') => boots.reduce((all, boot) => all + boot[key], 0)
  const first = boots.filter(({ ahead }) => ahead > 0).length
  return `${boots.length} reboot(s), ${sum('opened')} openings in ${sum('attempts')} attempts, ${sum('refused')} refused; the prober began before the guard in ${first}`
}

/** The script for user data, as its guard prints it. */
async function printed(context: Context, name: string): Promise<string> {
  const { access, options } = context
  const guard = await guardOn(context, name)
  const command = [access.nodeOfImages, '/pod2iam/firewall.cjs', 'boot-rules']
  const argv = [...command, `--backend=${options.bootBackend}`]
  const { code, stdout, stderr } = await access.exec(refOf(guard), 'firewall', argv)
  expect(code === 0, `boot-rules ended with ${code}: ${stderr}`)
  return stdout
}
