/** A node that loads rules when it boots (docs/boot-rules.md) is rebooted again and again. */
import { ask, type LivePod, readyPods, refOf, restarts } from '../cluster-pods.ts'
import type { Context } from '../context.ts'
import { CLIENT, clients, expectServed, PROBER } from '../load.ts'
import { guardOn } from '../nodes.ts'
import type { ProberState } from '../programs/reports.ts'
import { expect, type Promised, until } from '../promise.ts'
import { bootAgain } from '../rebooting.ts'
import { guardsReady } from '../rollout.ts'

/** The commands of docs/boot-rules.md. */
const REMOVE_BOOT_RULES = `systemctl disable pod2iam-boot.service
rm /etc/systemd/system/pod2iam-boot.service /etc/pod2iam/boot*
systemctl daemon-reload
`

export const closedFromBoot: Promised = {
  name: 'a node that loads rules when it boots is never open, however often it boots',
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
  // The rules themselves are gone after one more boot.
  const removeBootRules = async () => {
    await runOnNode(name, REMOVE_BOOT_RULES)
    await bootOnce(context, name)
  }
  const boots = await bootAgainAndAgain(context, name).catch(async (error: unknown) => {
    // Why the promise is broken says more than an error of the removal.
    await removeBootRules().catch(() => undefined)
    throw error
  })
  await removeBootRules()
  await guardsReady(context)
  const served = await expectServed(context, await clients(context))
  return `${describeBoots(boots)}; by ${options.bootBackend}; afterwards ${served}`
}

async function bootAgainAndAgain(context: Context, name: string): Promise<Boot[]> {
  const boots: Boot[] = []
  while (boots.length < context.options.bootReboots) {
    const boot = await bootOnce(context, name)
    boots.push(boot)
    context.progress(`reboot ${boots.length}: ${describeBoots([boot])}`)
    expect(boot.opened === 0, `reboot ${boots.length} was open; ${describeBoots(boots)}`)
    expect(boot.refused > 0, `at reboot ${boots.length} nothing was refused: nobody tried`)
  }
  return boots
}

/** What the prober of a node saw from its start until the guard was back. */
export type Boot = Pick<ProberState, 'attempts' | 'opened' | 'refused'> & {
  /** Milliseconds by which the prober began before the guard had loaded its own rules; negative if it began later. */
  readonly ahead: number
}

async function bootOnce(context: Context, name: string): Promise<Boot> {
  const [guard, prober] = [await guardOn(context, name), await proberOn(context, name)]
  await bootAgain(context, name)
  const proberBack = await until(context, `guard and prober of ${name} again`, async () => {
    const now = await proberOn(context, name)
    const begun = restarts(await guardOn(context, name)) > restarts(guard) && restarts(now) > restarts(prober)
    return begun && now
  })
  await guardsReady(context)
  const loaded = await until(context, `what the guard of ${name} logged`, async () =>
    verifiedAt(await guardLog(context, name)),
  )
  const state: ProberState = await until(context, `counts of ${name}'s prober`, async () =>
    JSON.parse(await ask(context, refOf(proberBack), ['state'])),
  )
  const ahead = loaded - Date.parse(state.began)
  return { attempts: state.attempts, opened: state.opened, refused: state.refused, ahead }
}

async function proberOn(context: Context, name: string): Promise<LivePod> {
  const pods = await readyPods(context, PROBER.place, PROBER.app)
  const found = pods.find(({ spec }) => spec.nodeName === name)
  expect(found !== undefined, `${name} has no prober`)
  return found
}

/** The log of the container that runs now. */
async function guardLog(context: Context, name: string): Promise<string> {
  const { namespace, name: pod } = refOf(await guardOn(context, name))
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}/log?container=firewall`
  const { status, body } = await context.access.kube.request('GET', path)
  expect(status === 200, `the guard's log was answered with ${status}`)
  return body
}

/** When a guard first found its own rules in the kernel, by its log; milliseconds. */
export function verifiedAt(log: string): number | undefined {
  for (const line of log.split('\n').filter((text) => text.startsWith('{'))) {
    const { msg, time }: { msg?: string; time?: string } = JSON.parse(line)
    if (msg === 'rules verified' && time !== undefined) return Date.parse(time)
  }
  return undefined
}

/** The evidence of one or more reboots. */
export function describeBoots(boots: readonly Boot[]): string {
  const sum = (key: 'attempts' | 'opened' | 'refused') => boots.reduce((all, boot) => all + boot[key], 0)
  const first = boots.filter(({ ahead }) => ahead > 0)
  const most = Math.max(0, ...boots.map(({ ahead }) => ahead))
  return `${boots.length} reboot(s), ${sum('opened')} openings in ${sum('attempts')} attempts, ${sum('refused')} refused; the prober began before the guard's rules stood in ${first.length}, by ${(most / 1000).toFixed(1)} s at most`
}

/** The script for user data, as the node's guard prints it. */
async function printed(context: Context, name: string): Promise<string> {
  const { access, options } = context
  const guard = await guardOn(context, name)
  const command = [access.nodeOfImages, '/pod2iam/firewall.cjs', 'boot-rules']
  const argv = [...command, `--backend=${options.bootBackend}`]
  const { code, stdout, stderr } = await access.exec(refOf(guard), 'firewall', argv)
  expect(code === 0, `boot-rules ended with ${code}: ${stderr}`)
  return stdout
}
