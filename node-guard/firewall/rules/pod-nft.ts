import { SIDECAR_PORT } from '../../../common/addresses.ts'
import type { TableName } from '../nft/table-content.ts'
import type { RedirectRuleset } from './pod.ts'

export const REDIRECT_TABLE: TableName = 'inet pod2iam_redirect'

/**
 * The pod's table while the block is proven: the metadata addresses stay what they are. A connection's NAT is
 * decided once, by the first nat chain that decides; −110 is before the −100 of iptables and of every mesh, so
 * neither a proxy nor our own old redirect answers in the endpoint's place. Nobody reaches the sidecar meanwhile: what would
 * come to it would come directly.
 */
export function proofRuleset(metadata: readonly string[], sidecarPort = SIDECAR_PORT): string {
  return table({ output: proofRules(metadata), input: directRules(sidecarPort) })
}

/**
 * The pod's table: what goes to the metadata service arrives at the sidecar (REDIRECT in OUTPUT rewrites to
 * loopback, where alone the sidecar listens), and what goes to the broker goes there, past any mesh. What comes to the sidecar
 * any other way is refused: `kubectl port-forward` connects to the pod's loopback, and whoever may do no more than that
 * must not get the pod's credentials by it (docs/decisions/0084).
 */
export function redirectRuleset(redirect: RedirectRuleset): string {
  return table({
    output: redirectRules(redirect),
    input: [...redirectedRules(redirect), ...directRules(redirect.sidecarPort)],
  })
}

/**
 * {@link proofRuleset} for a pod without our table, and {@link redirectRuleset} for one that holds just the proof's: the
 * first rule that decides wins, and what stands behind it does nothing more. Each fails where that is not so. They
 * delete nothing: what is deleted, nft waits for until no packet can be in it, some 12 ms of every pod's start.
 */
export const inNewPod = {
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

/** What was sent to the metadata service, and is at the sidecar by the redirect. Connection tracking remembers. */
const redirectedRules = ({ metadata, sidecarPort }: RedirectRuleset) =>
  metadata.map(
    (address) =>
      `tcp dport ${sidecarPort} ct original ${family(address)} daddr ${address} ct original proto-dst 80 accept`,
  )

/** The sidecar listens at these two; another program of the pod may have the port at another address. */
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

/** One transaction; loading it again changes nothing. */
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
