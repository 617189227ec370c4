/**
 * The part of the story that is possible without network namespaces: AWS, the API server, the injector, the broker and sidecars as
 * processes on 127.0.0.1. What needs a pod network is listed as left out.
 */
import { readFileSync } from 'node:fs'
import { type KubeObject, type Pod, trust } from '../sandbox/index.ts'
import { until } from '../support/until.ts'
import { type LoopbackStage, openLoopbackStage, type RunningSidecar } from './loopback-stage.ts'
import { type Output, shortenSecrets } from './output.ts'
import { additions } from './pod-diff.ts'
import { accessKeyOf, DATADOG_ROLE, NODE_ROLE, PROJECT } from './stage.ts'

const LIST = '/latest/meta-data/iam/security-credentials/'

/** @param reason why there are no namespaces here */
export async function playOnLoopback(out: Output, reason: string): Promise<void> {
  out.say(`No network namespaces here (${reason}): the parts run on loopback.`)
  const stage = await openLoopbackStage()
  try {
    await play(stage, out)
  } finally {
    await stage.close()
  }
  out.leftOut(
    'the redirect of 169.254.169.254 in the pod, the gate and the start-up timeline',
    'needs namespaces',
  )
  out.leftOut('the block on the real endpoint, and its healing', 'needs namespaces')
}

async function play(stage: LoopbackStage, out: Output): Promise<void> {
  out.step('An IAM role, a namespace that opts in, and an annotated DaemonSet')
  await stage.aws.putRole({ arn: DATADOG_ROLE, trustPolicy: trust({ principal: NODE_ROLE }) })
  const manifest = readFileSync(`${PROJECT}examples/datadog-agent.yaml`, 'utf8')
  const { objects } = await stage.kube.applyYaml(manifest)
  out.ran(
    'kubectl apply -f examples/datadog-agent.yaml',
    objects.map(({ kind, metadata }) => `${kind.toLowerCase()}/${metadata.name} created`).join('\n'),
  )

  out.step('What the injector added to its pod')
  const pod = await agentPod(stage)
  out.ran('kubectl get pod -n datadog -o yaml', additions(pod))
  const names = (pod.spec.initContainers ?? []).map(({ name }) => name)
  out.shows(names.join() === 'pod2iam-sidecar,pod2iam-gate', 'the pod has the sidecar and the gate')

  out.step("The pod's sidecar answers with the pod's own role")
  const sidecar = await stage.runSidecar(pod)
  const role = await sidecar.get(LIST)
  out.ran(`curl -s ${sidecar.url}${LIST}`, role)
  out.shows(role === DATADOG_ROLE, "that is the pod's role annotation")
  const document = await sidecar.get(LIST + role)
  out.ran(`curl -s ${sidecar.url}${LIST}${role}`, shortenSecrets(document))
  out.shows(accessKeyOf(document) !== undefined, 'temporary credentials for that role')

  out.step("The sidecar's log of these requests")
  const lines = await requestLines(sidecar, 2)
  out.ran('kubectl logs -n datadog -c pod2iam-sidecar', lines.join('\n'))
  out.shows(lines.length >= 2, 'one line per credential request')

  out.step('A role the namespace may not use')
  const refusal = await stage.kube.create(greedyPod()).then(
    () => '',
    (error: Error) => error.message,
  )
  out.ran('kubectl apply -f greedy.yaml', `Error from server: ${refusal}`)
  out.shows(refusal.includes('may not use role'), 'is refused at apply time, in a sentence')

  out.step('The broker is killed: the pod keeps its credentials')
  await stage.killBroker()
  out.shows((await sidecar.get(LIST + role)) === document, 'the sidecar answers from memory')
}

function agentPod({ kube }: LoopbackStage): Promise<Pod & KubeObject> {
  return until('a pod of the DaemonSet', async () => {
    const { items } = await kube.list<Pod & KubeObject>('pods', { namespace: 'datadog' })
    return items[0]
  })
}

/** Waits for this many log lines of credential requests, since they come through a pipe. */
function requestLines(sidecar: RunningSidecar, count: number): Promise<string[]> {
  return until(`${count} log lines of credential requests`, () => {
    const lines = sidecar
      .log()
      .split('\n')
      .filter((line) => line.includes('security-credentials'))
    return lines.length >= count && lines
  })
}

function greedyPod(): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'greedy',
      namespace: 'datadog',
      annotations: { 'iam.amazonaws.com/role': 'arn:aws:iam::222222222222:role/admin' },
    },
    spec: { containers: [{ name: 'app', image: 'registry.example/app:1' }] },
  }
}
