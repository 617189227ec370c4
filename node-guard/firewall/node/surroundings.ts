import { messageOf } from '../../../common/errors.ts'
import type { Logger } from '../../../common/log.ts'
import { type NatQuestion, type NatRules, takingTraffic } from '../iptables/nat-rules.ts'
import {
  type Bypass,
  CILIUM_CHAINS,
  CILIUM_DEVICE,
  CILIUM_MASQUERADE,
  type DataplaneFacts,
  markers,
  whyBypassed,
} from './dataplane.ts'
import type { ImdsOptions } from './imds-options.ts'
import { findLeftovers, type Leftover } from './leftovers.ts'

/** Something to tell the operator; codes are few and fixed, they are labels of a metric. */
type Warning = { readonly code: WarningCode; readonly detail: string }

/** Every code of a warning about the node around us. */
export const WARNING_CODES = [
  'dataplane-bypass',
  'leftovers-not-checked',
  'imds-v1',
  'imds-hop-limit',
  'imds-not-checked',
  'boot-rules',
] as const
type WarningCode = (typeof WARNING_CODES)[number]

/** What was last seen of the node around us. */
export type SurroundingsState = {
  /** The dataplane has been looked at: before that nobody knows whether rules are of any use. */
  readonly looked: boolean
  /** When leftovers were last looked for, milliseconds. */
  readonly lookedAt?: number
  /** Why rules that stand refuse nothing; one sentence. */
  readonly bypass: string | undefined
  readonly leftovers: readonly Leftover[]
  readonly warnings: readonly Warning[]
}

export type Surroundings = {
  /**
   * Looks at the dataplane, where it is time or it changed: a matter of milliseconds, so that what is verified can wait for
   * it. Never throws. Not to be called while it runs.
   */
  readonly look: () => Promise<void>
  /**
   * Searches for what other tools left, where it is time: may take seconds, so that nothing waits for it; true if it did.
   * Never throws. Not to be called while it runs.
   */
  readonly search: () => Promise<boolean>
  /** Asks the metadata service, where it is time; never throws. Not to be called while it runs. */
  readonly ask: () => Promise<void>
  readonly state: () => SurroundingsState
}

export type SurroundingsOptions = {
  readonly metadata: readonly string[]
  /** `netfilter`: the operator knows that packets of pods pass netfilter. */
  readonly dataplane: 'auto' | 'netfilter'
  readonly readInterfaces: () => Promise<readonly string[]>
  readonly hasNetkit: () => Promise<boolean>
  /** What is to be said of the rules that the node loads at boot, if anything. Never throws. */
  readonly bootRules: () => Promise<string | undefined>
  readonly readNatRules: (question: NatQuestion) => Promise<NatRules>
  /** Throws where the service does not answer; undefined where it is switched off. */
  readonly readImdsOptions: (address: string) => Promise<ImdsOptions | undefined>
  /** Milliseconds. */
  readonly now: () => number
  readonly log: Logger
}

const IMDS_MESSAGES: Readonly<Record<string, string>> = {
  'imds-v1': 'the metadata service admits IMDSv1',
  'imds-hop-limit': 'the metadata service lets session tokens leave the node',
  'imds-not-checked': 'the metadata service was not checked',
} satisfies Partial<Record<WarningCode, string>>

/** Neither tables of others nor the options of an instance change often. */
const LOOK_MS = 300_000
const ASK_MS = 900_000
/** The metadata service does not answer an instance in its first seconds. */
const ASK_AGAIN_MS = 30_000

const MASQUERADING: NatQuestion = { words: [CILIUM_MASQUERADE], chains: CILIUM_CHAINS, follow: false }

/** Looks at what can make the block useless, or is left of other tools. */
export function createSurroundings(options: SurroundingsOptions): Surroundings {
  const { metadata, now, log } = options
  let lookedAt = Number.NEGATIVE_INFINITY
  let searchedAt: number | undefined
  let askAt = Number.NEGATIVE_INFINITY
  let seenMarkers: string | undefined
  let seen: Bypass | undefined
  let leftovers: readonly Leftover[] = []
  let unread: readonly string[] = []
  let unseen: readonly string[] = []
  let boot: string | undefined
  let imds: readonly Warning[] = []
  const told = new Map<string, string>()
  const believed = options.dataplane === 'netfilter'
  const doubt = () => {
    if (seen === undefined) return undefined
    return believed ? onYourWord(seen) : `${seen.why}: ${seen.remedy}`
  }

  /** Logs what is new of a kind. */
  const tell = (
    kind: string,
    message: string,
    detail: string | undefined,
    level: 'warn' | 'error' = 'warn',
  ) => {
    if (detail !== undefined && told.get(kind) !== detail) log[level](message, { detail })
    told.set(kind, detail ?? '')
  }

  const look = async () => {
    const interfaces = await options.readInterfaces()
    const marked = markers(interfaces)
    // A dataplane often comes after us: its devices bring the next look forward.
    if (marked === seenMarkers && now() - lookedAt < LOOK_MS) return
    const { rules, unread: failures } = interfaces.includes(CILIUM_DEVICE)
      ? await options.readNatRules(MASQUERADING)
      : { rules: [], unread: [] }
    const facts: DataplaneFacts = {
      interfaces,
      netkit: marked !== '' && (await options.hasNetkit()),
      natRules: rules,
    }
    seen = whyBypassed(facts)
    unseen = failures
    lookedAt = now()
    seenMarkers = marked
    if (believed) tell('bypass', 'the block counts as verified by the operator’s word', doubt())
    else tell('bypass', 'the block may be of no use on this node', doubt(), 'error')
  }

  const search = async () => {
    if (searchedAt !== undefined && now() - searchedAt < LOOK_MS) return false
    const { rules, unread: failures } = await options.readNatRules(takingTraffic(metadata))
    leftovers = findLeftovers(rules, metadata)
    unread = failures
    boot = await options.bootRules()
    searchedAt = now()
    const found = leftovers.map(({ remove }) => remove).join('; ')
    tell(
      'leftovers',
      'rules of kube2iam or kiam found',
      found === ''
        ? undefined
        : `they take what pods send to the metadata service; when that tool is gone from this node, remove them: ${found}`,
    )
    tell('boot', 'the rules of this node’s boot are not the guard’s', boot)
    tell('unread', 'leftovers not checked', failures.length > 0 ? failures.join('; ') : undefined)
    return true
  }

  const ask = async () => {
    if (now() < askAt) return
    imds = await askAny(options, metadata)
    const failed = imds.some(({ code }) => code === 'imds-not-checked')
    askAt = now() + (failed ? ASK_AGAIN_MS : ASK_MS)
    for (const [code, message] of Object.entries(IMDS_MESSAGES))
      tell(code, message, imds.find((warning) => warning.code === code)?.detail)
  }

  return {
    look,
    search,
    ask,
    state: () => {
      const detail = doubt()
      return {
        looked: seenMarkers !== undefined,
        ...(searchedAt === undefined ? {} : { lookedAt: searchedAt }),
        bypass: believed ? undefined : detail,
        leftovers,
        warnings: [
          ...(detail === undefined ? [] : [{ code: 'dataplane-bypass' as const, detail }]),
          ...[...new Set([...unread, ...unseen])].map((detail) => ({
            code: 'leftovers-not-checked' as const,
            detail,
          })),
          ...imds,
          ...(boot === undefined ? [] : [{ code: 'boot-rules' as const, detail: boot }]),
        ],
      }
    },
  }
}

/** With `--dataplane=netfilter`. */
const onYourWord = ({ why }: Bypass) =>
  `${why}; the block is called verified by --dataplane=netfilter alone. What refuses pods whose packets do go round is the network policy, which this guard cannot see: \`kubectl get ciliumclusterwidenetworkpolicies\` shows Cilium’s, and the gate of each injected pod proves it`

const REMEDY =
  'aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required --http-put-response-hop-limit 1'

/** Warnings by the first address that answers: most instances have no IPv6 endpoint. */
async function askAny(options: SurroundingsOptions, addresses: readonly string[]): Promise<Warning[]> {
  const failures: string[] = []
  for (const address of addresses)
    try {
      const found = await options.readImdsOptions(address)
      return found === undefined ? [] : imdsWarnings(found)
    } catch (error) {
      failures.push(`${address}: ${messageOf(error)}`)
    }
  const detail = `the metadata service could not be asked for its options (${failures.join('; ')}): make sure that IMDSv2 is required, with hop limit 1`
  return [{ code: 'imds-not-checked', detail }]
}

/** What should be otherwise in the options of the metadata service. Required tokens and one hop are prerequisites. */
export function imdsWarnings({ version1, hopLimit }: ImdsOptions): Warning[] {
  const warnings: Warning[] = []
  if (version1)
    warnings.push({
      code: 'imds-v1',
      detail: `the metadata service answers without a session token (IMDSv1), so that whoever gets round the block, or makes a hostNetwork pod fetch an address, has the node role: ${REMEDY}`,
    })
  if (hopLimit === undefined)
    warnings.push({
      code: 'imds-not-checked',
      detail: `the hop limit of the metadata service could not be seen, for which nft is needed, of version 1.1 on a node with thousands of Services: make sure that it is 1: ${REMEDY}`,
    })
  else if (hopLimit > 1)
    warnings.push({
      code: 'imds-hop-limit',
      detail: `the metadata service lets session tokens travel ${hopLimit} hops, so that a pod which gets round the block receives one: ${REMEDY}`,
    })
  return warnings
}
