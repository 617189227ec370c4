import { messageOf } from '../../../common/errors.ts'
import type { Logger } from '../../../common/log.ts'
import { type NatQuery, type NatRules, redirectsOf } from '../iptables/nat-rules.ts'
import {
  type Bypass,
  CILIUM_CHAINS,
  CILIUM_DEVICE,
  CILIUM_MASQUERADE,
  markers,
  whyBypassed,
} from './dataplane.ts'
import type { ImdsOptions } from './imds-options.ts'
import { findLeftovers, type Leftover } from './leftovers.ts'

/** A warning for the operator; codes are few and fixed, since they are labels of a metric. */
type Warning = { readonly code: WarningCode; readonly detail: string }

/** Every code of a warning about the node. */
export const WARNING_CODES = [
  'dataplane-bypass',
  'leftovers-not-checked',
  'imds-v1',
  'imds-hop-limit',
  'imds-not-checked',
  'boot-rules',
] as const
type WarningCode = (typeof WARNING_CODES)[number]

export type Surroundings = ReturnType<typeof createSurroundings>
/** What was last found on the node. */
export type SurroundingsState = ReturnType<Surroundings['state']>

export type SurroundingsOptions = {
  readonly metadata: readonly string[]
  /** `netfilter`: the operator states that packets of pods pass netfilter. */
  readonly dataplane: 'auto' | 'netfilter'
  readonly readInterfaces: () => Promise<readonly string[]>
  readonly hasNetkit: () => Promise<boolean>
  /** A warning about the rules that the node loads at boot, if there is one. Never throws. */
  readonly bootRules: () => Promise<string | undefined>
  readonly readNatRules: (question: NatQuery) => Promise<NatRules>
  /** Throws if the service does not answer; undefined if it is switched off. */
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

/** Other programs' tables and the options of an instance rarely change. */
const LOOK_MS = 300_000
const ASK_MS = 900_000
/** The metadata service does not answer in the first seconds of an instance. */
const ASK_AGAIN_MS = 30_000

const MASQUERADING: NatQuery = { texts: [CILIUM_MASQUERADE], chains: CILIUM_CHAINS, follow: false }

/** Checks the node for conditions that make the block ineffective, and for rules that other tools left behind. */
export function createSurroundings(options: SurroundingsOptions) {
  const logNew = changeLogger(options.log)
  const dataplane = dataplaneCheck(options, logNew)
  const others = leftoverSearch(options, logNew)
  const imds = imdsCheck(options, logNew)
  const warning = (code: WarningCode, detail: string | undefined): Warning[] =>
    detail === undefined ? [] : [{ code, detail }]
  return {
    /**
     * Checks the dataplane, if it is time or it has changed. Takes milliseconds, so that verification can wait for it.
     * Never throws. Not to be called while it runs.
     */
    lookAtDataplane: dataplane.look,
    /**
     * Searches for rules that other tools left behind, if it is time; returns whether it did. May take seconds, so that
     * nothing should wait for it. Never throws. Not to be called while it runs.
     */
    searchLeftovers: others.search,
    /** Asks the metadata service for its options, if it is time; never throws. Not to be called while it runs. */
    askImds: imds.ask,
    state: () => {
      const { looked, doubt, unread } = dataplane.state()
      const { searchedAt, leftovers, boot, unread: unsearched } = others.state()
      return {
        /** Whether the dataplane has been checked; before that it is unknown whether the rules have any effect. */
        looked,
        /** When leftovers were last looked for, milliseconds. */
        ...(searchedAt === undefined ? {} : { lookedAt: searchedAt }),
        /** Why correct rules may refuse nothing; one sentence. */
        bypass: options.dataplane === 'netfilter' ? undefined : doubt,
        leftovers,
        warnings: [
          ...warning('dataplane-bypass', doubt),
          ...[...new Set([...unsearched, ...unread])].flatMap((one) => warning('leftovers-not-checked', one)),
          ...imds.warnings(),
          ...warning('boot-rules', boot),
        ],
      }
    },
  }
}

type LogNew = (kind: string, message: string, detail: string | undefined, level?: 'warn' | 'error') => void

/** Logs a detail only if it differs from the last one of its kind. */
function changeLogger(log: Logger): LogNew {
  const last = new Map<string, string | undefined>()
  return (kind, message, detail, level = 'warn') => {
    if (detail !== undefined && last.get(kind) !== detail) log[level](message, { detail })
    last.set(kind, detail)
  }
}

function dataplaneCheck(options: SurroundingsOptions, logNew: LogNew) {
  const { now } = options
  const isStated = options.dataplane === 'netfilter'
  let lookedAt = Number.NEGATIVE_INFINITY
  let seenMarkers: string | undefined
  let doubt: string | undefined
  let unread: readonly string[] = []
  return {
    state: () => ({ looked: seenMarkers !== undefined, doubt, unread }),
    look: async () => {
      const interfaces = await options.readInterfaces()
      const marked = markers(interfaces)
      // A dataplane often starts after the guard: then its devices are the reason to look again.
      if (marked === seenMarkers && now() - lookedAt < LOOK_MS) return
      const nat = interfaces.includes(CILIUM_DEVICE)
        ? await options.readNatRules(MASQUERADING)
        : { rules: [], unread: [] }
      const netkit = marked !== '' && (await options.hasNetkit())
      const bypass = whyBypassed({ interfaces, netkit, natRules: nat.rules })
      doubt = bypass && (isStated ? statedByOperator(bypass) : `${bypass.why}: ${bypass.remedy}`)
      unread = nat.unread
      lookedAt = now()
      seenMarkers = marked
      if (isStated) logNew('bypass', 'the block counts as verified because of --dataplane=netfilter', doubt)
      else logNew('bypass', 'the block may have no effect on this node', doubt, 'error')
    },
  }
}

function leftoverSearch({ metadata, now, readNatRules, bootRules }: SurroundingsOptions, logNew: LogNew) {
  let searchedAt: number | undefined
  let leftovers: readonly Leftover[] = []
  let unread: readonly string[] = []
  let boot: string | undefined
  return {
    state: () => ({ searchedAt, leftovers, unread, boot }),
    search: async () => {
      if (searchedAt !== undefined && now() - searchedAt < LOOK_MS) return false
      const nat = await readNatRules(redirectsOf(metadata))
      leftovers = findLeftovers(nat.rules, metadata)
      unread = nat.unread
      boot = await bootRules()
      searchedAt = now()
      const found = leftovers.map(({ remove }) => remove).join('; ')
      const remedy = `they redirect what pods send to the metadata service; once that tool no longer runs on this node, remove them: ${found}`
      logNew('leftovers', 'rules of kube2iam or kiam found', found === '' ? undefined : remedy)
      logNew('boot', 'the rules that this node loads at boot differ from the guard’s', boot)
      logNew('unread', 'leftovers not checked', unread.length > 0 ? unread.join('; ') : undefined)
      return true
    },
  }
}

function imdsCheck(options: SurroundingsOptions, logNew: LogNew) {
  const { metadata, now } = options
  let askAt = Number.NEGATIVE_INFINITY
  let warnings: readonly Warning[] = []
  return {
    warnings: () => warnings,
    ask: async () => {
      if (now() < askAt) return
      warnings = await askAny(options, metadata)
      const failed = warnings.some(({ code }) => code === 'imds-not-checked')
      askAt = now() + (failed ? ASK_AGAIN_MS : ASK_MS)
      for (const [code, message] of Object.entries(IMDS_MESSAGES))
        logNew(code, message, warnings.find((warning) => warning.code === code)?.detail)
    },
  }
}

/** The detail of the warning with `--dataplane=netfilter`. */
const statedByOperator = ({ why }: Bypass) =>
  `${why}; the block counts as verified only because of --dataplane=netfilter. Pods whose packets do bypass netfilter are refused only by the network policy, which this guard cannot see: \`kubectl get ciliumclusterwidenetworkpolicies\` shows Cilium’s, and the gate of each injected pod proves it`

const REMEDY =
  'aws ec2 modify-instance-metadata-options --instance-id ID --http-tokens required --http-put-response-hop-limit 1'

/** Warnings from the first address that answers: most instances have no IPv6 endpoint. */
async function askAny(options: SurroundingsOptions, addresses: readonly string[]): Promise<Warning[]> {
  const failures: string[] = []
  for (const address of addresses)
    try {
      const found = await options.readImdsOptions(address)
      return found === undefined ? [] : imdsWarnings(found)
    } catch (error) {
      failures.push(`${address}: ${messageOf(error)}`)
    }
  const detail = `the metadata service could not be asked for its options (${failures.join('; ')}): make sure that IMDSv2 is required, with hop limit 1; a node without a metadata service, such as one outside EC2, has nothing for this guard to refuse`
  return [{ code: 'imds-not-checked', detail }]
}

/** Warnings about options of the metadata service. Required tokens and a hop limit of one are prerequisites. */
export function imdsWarnings({ version1, hopLimit }: ImdsOptions): Warning[] {
  const warnings: Warning[] = []
  if (version1)
    warnings.push({
      code: 'imds-v1',
      detail: `the metadata service answers without a session token (IMDSv1), so anyone who bypasses the block, or makes a hostNetwork pod fetch an address, gets the node role: ${REMEDY}`,
    })
  if (hopLimit === undefined)
    warnings.push({
      code: 'imds-not-checked',
      detail: `the hop limit of the metadata service could not be read, which needs nft, and on a node with thousands of Services nft 1.1: make sure that it is 1: ${REMEDY}`,
    })
  else if (hopLimit > 1)
    warnings.push({
      code: 'imds-hop-limit',
      detail: `the metadata service lets session tokens travel ${hopLimit} hops, so that a pod which bypasses the block receives one: ${REMEDY}`,
    })
  return warnings
}
