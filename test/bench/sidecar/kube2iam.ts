/**
 * A comparison with a real kube2iam, in one run on one machine: kube2iam in the node's network namespace, behind its own DNAT rule and a
 * pod's veth, with the sandbox's API server and STS; the sidecar in another pod behind its redirect. The same client calls both, in turns.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { openNode, POD1, type TestNode } from '../../firewall/node.ts'
import { peer } from '../../peers/peers.ts'
import { Aws, trust } from '../../sandbox/aws/client.ts'
import { ApiServer, type KubeObject } from '../../sandbox/kube/client/client.ts'
import { until } from '../../support/until.ts'
import { machineLoad } from '../cpu-group.ts'
import type { LoadResult } from '../load.ts'
import { type Figure, median } from '../report.ts'
import type { ClientLoad } from './load-client.ts'
import { ROLE_PATH, type SidecarOptions } from './process.ts'

const ROUNDS = 7
const LOADS: readonly (ClientLoad & { readonly name: string })[] = [
  { name: 'a whole fetch', wholeFetches: 300 },
  ...[true, false].flatMap((keepAlive) =>
    [1, 16].map((connections) => ({
      name: `${connections} connection${connections === 1 ? '' : 's'}, ${keepAlive ? 'kept alive' : 'new each time'}`,
      requests: 1000,
      connections,
      keepAlive,
    })),
  ),
]
const NODE = 'node-1'
const ROLE = ROLE_PATH.slice(ROLE_PATH.lastIndexOf('/') + 1)
/** kube2iam requests the Regions from EC2; without an endpoint for EC2 it uses the SDK's endpoint for STS. */
const EC2_PORT = 8090
const REGIONS =
  '<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId><regionInfo/></DescribeRegionsResponse>'
const LEFT_OUT = 'side by side with kube2iam'

export async function kube2iamFigures({ workshop }: SidecarOptions): Promise<readonly Figure[]> {
  const program = peer('kube2iam')
  if (program === undefined) {
    const note =
      'left out: no kube2iam on this machine; one that is in the PATH is taken (test/bench/sidecar/kube2iam.ts)'
    return [{ name: LEFT_OUT, value: undefined, unit: '', note }]
  }
  const node = await openNode()
  const ends: (() => Promise<unknown>)[] = [() => node.close()]
  try {
    ends.push(await startKube2iam(node, program, workshop.directory))
    const argv = [workshop.directory, workshop.bundle, workshop.tokenFile]
    const pod = node.spawn('pod2', [process.execPath, join(import.meta.dirname, 'served-pod.ts'), ...argv])
    ends.push(() => ended(pod, () => pod.stdin?.end()))
    await line(pod, /^ready$/, 'the sidecar')
    const results: Record<'pod2iam' | 'kube2iam', LoadResult[][]> = { pod2iam: [], kube2iam: [] }
    for (let round = 0; round < ROUNDS; round++) {
      results.kube2iam.push(await clientIn(node, 'pod1'))
      results.pod2iam.push(await clientIn(node, 'pod2'))
    }
    return LOADS.flatMap(({ name }, index) => {
      const of = (who: keyof typeof results) =>
        results[who].map((round) => round[index]).filter((one) => one !== undefined)
      return compared(name, of('pod2iam'), of('kube2iam'))
    })
  } finally {
    for (const end of ends.reverse()) await end()
  }
}

/** kube2iam runs with its default log level, at which it writes a line for each request, and its log is read as a container runtime does. */
async function startKube2iam(
  node: TestNode,
  program: string,
  directory: string,
): Promise<() => Promise<void>> {
  const spawn = (command: string, args: readonly string[]) => node.spawn('node', [command, ...args])
  const api = await ApiServer.start({ directory: join(directory, 'k'), controllers: false, spawn })
  const aws = await Aws.start({
    imds: ['169.254.169.254:80'],
    sts: ['10.0.0.2:80'],
    spawn: (argv) => node.spawn('aws', argv),
  })
  await (await node.agent('node')).serve({ port: EC2_PORT, status: 200, body: REGIONS })
  await aws.putRole({ arn: ROLE, trustPolicy: trust({ principal: aws.config.nodeRoleArn }) })
  await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } })
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'orders', namespace: 'shop', annotations: { 'iam.amazonaws.com/role': ROLE } },
    spec: { nodeName: NODE, containers: [{ name: 'app', image: 'app' }] },
  }
  await api.admin.create(pod as unknown as KubeObject)
  const [podIP] = POD1
  const status = { phase: 'Running', podIP, podIPs: [{ ip: podIP }] }
  await api.admin.patch('pods', 'orders', 'shop', { status }, { type: 'strategic', subresource: 'status' })
  const flags = [
    `--kubeconfig=${await api.kubeconfig()}`,
    `--node=${NODE}`,
    `--base-role-arn=${aws.config.base}`,
    ...['--iptables', '--host-ip=10.0.0.10', '--host-interface=veth+'],
  ]
  const env = { ...aws.environment(), AWS_ENDPOINT_URL_EC2: `http://127.0.0.1:${EC2_PORT}` }
  const child = node.spawn('node', [program, ...flags], env)
  const end = async () => {
    await ended(child)
    await Promise.all([api.stop(), aws.stop()])
  }
  try {
    await line(child, /Listening on port/, 'kube2iam')
    await until('kube2iam gives credentials', async () => {
      const argv = [
        'curl',
        '-s',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
        `http://169.254.169.254${ROLE_PATH}`,
      ]
      return (await node.run('pod1', argv)).stdout === '200'
    })
    return end
  } catch (error) {
    await end()
    throw error
  }
}

/** Waits for a line of a process, and continues to read, so that it never blocks on its output. */
function line(child: ChildProcess, wanted: RegExp, who: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let last = ''
  for (const stream of [child.stdout, child.stderr])
    if (stream)
      createInterface({ input: stream }).on('line', (text) => {
        last = text.slice(0, 500)
        if (wanted.test(text)) resolve()
      })
  child.once('close', () => reject(new Error(`${who} ended: ${last}`)))
  return promise
}

/** @param tell how to ask it to end; by default it is killed */
async function ended(child: ChildProcess, tell: () => void = () => child.kill('SIGKILL')): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, 'close')
  tell()
  await closed
}

async function clientIn(node: TestNode, network: 'pod1' | 'pod2'): Promise<LoadResult[]> {
  const script = join(import.meta.dirname, 'load-client.ts')
  return JSON.parse(
    await node.must(network, [process.execPath, script, JSON.stringify(LOADS)]),
  ) as LoadResult[]
}

/** Medians of the rounds, and our figures as a share of kube2iam's; the target is never to be slower. */
function compared(name: string, ours: readonly LoadResult[], theirs: readonly LoadResult[]): Figure[] {
  const middle = (results: readonly LoadResult[], of: keyof LoadResult) =>
    median(results.map((one) => one[of]))
  const perSecond = [ours, theirs].map((results) => Math.round(middle(results, 'perSecond')))
  const failures = [...ours, ...theirs].reduce((sum, one) => sum + one.failures, 0)
  return (['p50', 'p99'] as const).map((of) => {
    const [mine, other] = [middle(ours, of), middle(theirs, of)]
    return {
      name: `${of} of the sidecar ÷ kube2iam's, ${name}`,
      value: mine / other,
      unit: '',
      target: 1,
      note:
        `${Math.round(mine)} and ${Math.round(other)} µs; ${perSecond.join(' and ')} requests/s; ` +
        `medians of ${ours.length} rounds in turns; failures: ${failures}; ${machineLoad()}`,
    }
  })
}
