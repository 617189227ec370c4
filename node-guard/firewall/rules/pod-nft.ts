import { SIDECAR_PORT } from '../../../common/addresses.ts'
import type { TableName } from './nft.ts'
import type { RedirectRuleset } from './pod.ts'

export const REDIRECT_TABLE: TableName = 'inet pod2iam_redirect'

/**
 * The pod's table while the block is being proven: connections to the metadata addresses keep their destination. The
 * NAT of a connection is decided once, by the first nat chain that matches; −110 is before the −100 of iptables and of
 * every mesh, so that neither a proxy nor our own earlier redirect answers in place of the endpoint. Meanwhile nothing
 * reaches the sidecar, since without the redirect every connection to it is a direct one.
 */
export function proofRuleset(metadata: readonly string[], sidecarPort = SIDECAR_PORT): string {
  return table({ output: proofRules(metadata), input: directRules(sidecarPort) })
}

/**
 * The pod's table: connections to the metadata service arrive at the sidecar (REDIRECT in OUTPUT rewrites to loopback,
 * the only address at which the sidecar listens), and connections to the broker reach it, bypassing any mesh. Other
 * connections to the sidecar are refused: `kubectl port-forward` connects to the pod's loopback, and permission to use it
 * must not be enough to get the pod's credentials (docs/decisions/0084).
 */
export function redirectRuleset(redirect: RedirectRuleset): string {
  return table({
    output: redirectRules(redirect),
    input: [...redirectedRules(redirect), ...directRules(redirect.sidecarPort)],
  })
}

/**
 * {@link proofRuleset} for a pod without our table, and {@link redirectRuleset} for a pod that has only the table of the
 * proof: the first rule that matches decides, so that the rules behind it have no effect any more. Each fails where the
 * pod is in another state. They delete nothing: for each deletion nft waits until no packet can be in the rule, some
 * 12 ms of every pod's start.
 */
export const newPodRuleset = {
  proof: (metadata: readonly string[], sidecarPort = SIDECAR_PORT): string =>
    proofRuleset(metadata, sidecarPort).replace(REPLACE, `create table ${REDIRECT_TABLE}\n`),
  redirect: (redirect: RedirectRuleset): string =>
    [
      ...redirectedRules(redirect).map((rule) => `input ${rule}`),
      ...redirectRules(redirect).map((rule) => `output ${rule}`),
    ]
      .map((rule) => `insert rule ${REDIRECT_TABLE} ${rule}\n`)
      .join(''),
}

const proofRules = (metadata: readonly string[]) => metadata.map((address) => identity(address, 80))

function redirectRules({ metadata, broker, brokerPort, sidecarPort }: RedirectRuleset): string[] {
  return [
    ...metadata.map(
      (address) => `${family(address)} daddr ${address} tcp dport 80 redirect to :${sidecarPort}`,
    ),
    ...broker.map((address) => identity(address, brokerPort)),
  ]
}

/** Connections to the metadata service that the redirect led to the sidecar; connection tracking has the original address. */
const redirectedRules = ({ metadata, sidecarPort }: RedirectRuleset) =>
  metadata.map(
    (address) =>
      `tcp dport ${sidecarPort} ct original ${family(address)} daddr ${address} ct original proto-dst 80 accept`,
  )

/** The sidecar listens at these two; another program of the pod may use the port at other addresses. */
const directRules = (sidecarPort: number) =>
  ['127.0.0.1', '::1'].map(
    (address) => `${family(address)} daddr ${address} tcp dport ${sidecarPort} reject with tcp reset`,
  )

const family = (address: string) => (address.includes(':') ? 'ip6' : 'ip')

const identity = (address: string, port: number) =>
  `${family(address)} daddr ${address} tcp dport ${port} dnat ${family(address)} to ${address}`

const REPLACE = `add table ${REDIRECT_TABLE}
delete table ${REDIRECT_TABLE}
`

/** Loaded in one transaction; loading it again changes nothing. */
function table({ output, input }: { readonly output: readonly string[]; readonly input: readonly string[] }) {
  const lines = (rules: readonly string[]) => rules.map((rule) => `    ${rule}`).join('\n')
  return `${REPLACE}table ${REDIRECT_TABLE} {
  chain output {
    type nat hook output priority -110; policy accept;
${lines(output)}
  }
  chain input {
    type filter hook input priority -110; policy accept;
${lines(input)}
  }
}
`
}
