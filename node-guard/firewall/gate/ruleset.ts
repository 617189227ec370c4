import type { TableName } from '../nft-table.ts'

export const REDIRECT_TABLE: TableName = 'inet pod2iam_redirect'

export type RedirectRuleset = {
  readonly metadata: readonly string[]
  readonly broker: readonly string[]
  readonly brokerPort: number
  readonly sidecarPort: number
}

/**
 * The pod's table while the block is proven: the metadata addresses stay what they are. A connection's NAT is
 * decided once, by the first nat chain that decides; −110 is before the −100 of iptables and of every mesh, so
 * neither a proxy nor our own old redirect answers in the endpoint's place.
 */
export function proofRuleset(metadata: readonly string[]): string {
  return table(metadata.map((address) => identity(address, 80)))
}

/**
 * The pod's table: what goes to the metadata service arrives at the sidecar (REDIRECT in OUTPUT rewrites to
 * loopback, where alone the sidecar listens), and what goes to the broker goes there, past any mesh.
 */
export function redirectRuleset(redirect: RedirectRuleset): string {
  return table(redirectRules(redirect))
}

/**
 * {@link proofRuleset} for a pod without our table, and {@link redirectRuleset} for one that holds just the proof's: the
 * first rule that decides wins, and what stands behind it does nothing more. Each fails where that is not so. They
 * delete nothing: what is deleted, nft waits for until no packet can be in it, some 12 ms of every pod's start.
 */
export const inNewPod = {
  proof: (metadata: readonly string[]): string =>
    proofRuleset(metadata).replace(REPLACE, `create table ${REDIRECT_TABLE}\n`),
  redirect: (redirect: RedirectRuleset): string =>
    redirectRules(redirect)
      .map((rule) => `insert rule ${REDIRECT_TABLE} output ${rule}\n`)
      .join(''),
}

function redirectRules({ metadata, broker, brokerPort, sidecarPort }: RedirectRuleset): string[] {
  return [
    ...metadata.map(
      (address) => `${family(address)} daddr ${address} tcp dport 80 redirect to :${sidecarPort}`,
    ),
    ...broker.map((address) => identity(address, brokerPort)),
  ]
}

const family = (address: string) => (address.includes(':') ? 'ip6' : 'ip')

const identity = (address: string, port: number) =>
  `${family(address)} daddr ${address} tcp dport ${port} dnat ${family(address)} to ${address}`

const REPLACE = `add table ${REDIRECT_TABLE}
delete table ${REDIRECT_TABLE}
`

/** One transaction; loading it again changes nothing. */
function table(rules: readonly string[]): string {
  return `${REPLACE}table ${REDIRECT_TABLE} {
  chain output {
    type nat hook output priority -110; policy accept;
${rules.map((rule) => `    ${rule}`).join('\n')}
  }
}
`
}
