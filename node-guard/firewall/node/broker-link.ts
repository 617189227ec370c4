import { BROKER_LINK } from '../../../common/addresses.ts'
import { messageOf } from '../../../common/errors.ts'
import type { Logger } from '../../../common/log.ts'
import { type Exec, whyFailed } from '../process/exec.ts'

/** State of the link that has the broker's addresses. */
export type LinkState = {
  /** The link is up and has all of its IPv4 addresses. */
  readonly up: boolean
  /** Something was missing and has been created. */
  readonly changed: boolean
  /** One sentence: why it is not up, or what it lacks. */
  readonly detail?: string
}

/**
 * The link as the guard keeps it.
 *
 * @param options `routingProblem`: why some pods may not reach the link, or undefined; its state reports this, too
 */
export function createBrokerLink(options: {
  readonly exec: Exec
  readonly addresses: readonly string[]
  readonly routingProblem: () => string | undefined
  readonly log: Logger
}) {
  const { exec, addresses, routingProblem, log } = options
  let state: LinkState | undefined
  return {
    /** Undefined before the first check. */
    state: () => state,
    /** Creates what is missing; never throws. Returns whether `state` has changed. Not to be called while it runs. */
    check: async () => {
      const before = state
      const made = await ensureLink(exec, addresses)
      const details = [made.detail, routingProblem()].filter((detail) => detail !== undefined)
      state = details.length > 0 ? { ...made, detail: details.join('; ') } : made
      if (state.changed) log.info('broker link created', { link: BROKER_LINK, addresses })
      const { up, detail } = state
      if (detail !== undefined && detail !== before?.detail)
        log[up ? 'warn' : 'error']('broker link incomplete', { detail })
      return up !== before?.up || detail !== before?.detail
    },
  }
}

type Seen = { readonly up: boolean; readonly addresses: ReadonlySet<string> } | undefined

/**
 * Creates the link {@link BROKER_LINK} with these addresses, or adds what it lacks; never throws. It is a dummy device, or a bridge
 * without ports where the kernel has no dummy (`CONFIG_DUMMY`). Addresses are /32 and /128: the link has no neighbours.
 */
export async function ensureLink(exec: Exec, addresses: readonly string[]): Promise<LinkState> {
  const down = (detail: string): LinkState => ({ up: false, changed: false, detail })
  let changed = false
  try {
    let seen = await readLink(exec)
    if (seen === undefined) {
      await addLink(exec)
      changed = true
      seen = { up: false, addresses: new Set() }
    }
    if (!seen.up) {
      await ip(exec, ['link', 'set', BROKER_LINK, 'up'])
      changed = true
    }
    let detail: string | undefined
    for (const address of addresses.filter((wanted) => !seen.addresses.has(wanted))) {
      const failed = await addAddress(exec, address)
      if (failed === undefined) changed = true
      else if (!address.includes(':')) return down(failed)
      // On a node without IPv6 nothing is wrong: its pods reach the broker by IPv4.
      else detail = `the broker has no IPv6 address on this node: ${failed}`
    }
    return { up: true, changed, ...(detail === undefined ? {} : { detail }) }
  } catch (error) {
    return down(messageOf(error))
  }
}

/** Removes the link if it exists; never throws. Returns why it could not, or undefined. */
export async function removeLink(exec: Exec): Promise<string | undefined> {
  try {
    if ((await readLink(exec)) === undefined) return undefined
    await ip(exec, ['link', 'delete', BROKER_LINK])
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

/** Whether the link is up, and which addresses it has; undefined if it does not exist. Throws if `ip` fails. */
async function readLink(exec: Exec): Promise<Seen> {
  const result = await exec('ip', ['-json', 'address', 'show', 'dev', BROKER_LINK])
  if (result.code === 1 && /does not exist|cannot find device/i.test(result.stderr)) return undefined
  if (result.code !== 0) throw new Error(whyFailed('ip', result))
  const links = JSON.parse(result.stdout) as { flags?: string[]; addr_info?: { local?: string }[] }[]
  const link = links.find(({ flags }) => flags !== undefined)
  return {
    up: link?.flags?.includes('UP') ?? false,
    addresses: new Set(link?.addr_info?.map(({ local }) => local ?? '')),
  }
}

async function addLink(exec: Exec): Promise<void> {
  const dummy = await exec('ip', ['link', 'add', BROKER_LINK, 'type', 'dummy'])
  if (dummy.code === 0 || /file exists/i.test(dummy.stderr)) return
  // "Unknown device type" (iproute2) or "Operation not supported" (kernel): no dummy here.
  if (/unknown device type|not supported/i.test(dummy.stderr))
    return ip(exec, ['link', 'add', BROKER_LINK, 'type', 'bridge'])
  throw new Error(whyFailed('ip', dummy))
}

async function addAddress(exec: Exec, address: string): Promise<string | undefined> {
  // Without nodad an IPv6 address is tentative for a second or two, and cannot be bound to.
  const what = address.includes(':') ? [`${address}/128`, 'nodad'] : [`${address}/32`]
  const [cidr = '', ...rest] = what
  const result = await exec('ip', ['address', 'replace', cidr, 'dev', BROKER_LINK, ...rest])
  return result.code === 0 ? undefined : whyFailed('ip', result)
}

async function ip(exec: Exec, args: readonly string[]): Promise<void> {
  const result = await exec('ip', args)
  if (result.code !== 0) throw new Error(whyFailed('ip', result))
}
