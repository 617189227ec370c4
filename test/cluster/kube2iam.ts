/**
 * A real kube2iam on every node, for a comparison in one run. Its rule is loaded only while one of its pods starts: kube2iam would answer at the
 * metadata endpoint in place of the node's service, and behind such an answer a gate refuses to start.
 */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import type { Context } from './context.ts'
import { expect } from './promise.ts'

type KubeNode = KubeObject & {
  readonly status?: { readonly addresses?: readonly { readonly type: string; readonly address: string }[] }
}

export type Kube2iam = {
  /** Adds its rule on all nodes, or removes it. */
  readonly setRule: (active: boolean) => Promise<void>
  readonly stop: () => Promise<void>
}

const PORT = 8181
/** kube2iam asks EC2 for the Regions; an answer without any is good enough. */
const EC2_PORT = 8090
const REGIONS = '<DescribeRegionsResponse><requestId>1</requestId><regionInfo/></DescribeRegionsResponse>'
const PID_FILES = '/run/kube2iam.pid /run/kube2iam-ec2.pid'

/** @throws Error if the test cannot run programs on nodes */
export async function startKube2iam(context: Context, program: string): Promise<Kube2iam> {
  const { access, aws, options } = context
  const { runOnNode } = access
  expect(runOnNode !== undefined, 'the test cannot run kube2iam on these nodes')
  const { items } = await access.kube.list<KubeNode>('nodes')
  const nodes = items.map(({ metadata, status }) => ({
    name: metadata.name ?? '',
    address: status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? '',
  }))
  const onAll = async (script: (node: (typeof nodes)[number]) => string) => {
    for (const node of nodes) await runOnNode(node.name, script(node))
  }
  const environment = [
    'AWS_REGION=eu-west-1',
    `AWS_ENDPOINT_URL_EC2=http://127.0.0.1:${EC2_PORT}`,
    ...aws.brokerEnvironment.map(({ name, value }) => `${name}=${value}`),
  ]
  const ec2 = `require('node:http').createServer((_, answer) => answer.end('${REGIONS}')).listen(${EC2_PORT}, '127.0.0.1')`
  await onAll(({ name, address }) => {
    const flags = [
      `--kubeconfig=${options.kubeconfig}`,
      `--node=${name}`,
      `--base-role-arn=${aws.baseRoleArn}`,
      `--host-ip=${address}`,
      `--app-port=${PORT}`,
    ]
    return `set -e
setsid '${process.execPath}' -e "${ec2}" </dev/null >/dev/null 2>&1 & echo $! >/run/kube2iam-ec2.pid
setsid env ${environment.join(' ')} '${program}' ${flags.join(' ')} </dev/null >/var/log/kube2iam.log 2>&1 & echo $! >/run/kube2iam.pid
for _ in $(seq 600); do grep -q 'Listening on port' /var/log/kube2iam.log && exit 0; sleep 0.1; done
cat /var/log/kube2iam.log; exit 1
`
  })
  return {
    setRule: (active) =>
      onAll(
        ({ address }) =>
          `iptables -w -t nat ${active ? '-A' : '-D'} PREROUTING -p tcp -d 169.254.169.254 --dport 80 -i cni0 -j DNAT --to-destination ${address}:${PORT}\n`,
      ),
    stop: () => onAll(() => `kill $(cat ${PID_FILES})\n`),
  }
}
