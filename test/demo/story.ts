/** The six steps of the demo. Each prints its commands and their results, and checks that these show what they should. */
import { readFileSync } from 'node:fs'
import { peer } from '../peers/peers.ts'
import { isReady, trust } from '../sandbox/index.ts'
import { type Output, shortenSecrets } from './output.ts'
import { additions } from './pod-diff.ts'
import {
  accessKeyOf,
  CREDENTIALS_URL,
  DATADOG_ROLE,
  daemonSetPod,
  NODE_ROLE,
  PROJECT,
  REPORTS_ROLE,
  type Stage,
} from './stage.ts'
import { momentOf, startOf } from './timeline.ts'

const MANIFEST = 'examples/datadog-agent.yaml'
const AGENT_LABEL = 'app.kubernetes.io/name=datadog-agent'

/** 1. IAM, an opted-in namespace, an annotated DaemonSet. Returns its pod. */
export async function applyWorkload(stage: Stage, out: Output): Promise<string> {
  out.step('An IAM role, a namespace that opts in, and an annotated DaemonSet')
  const trustPolicy = trust({ principal: NODE_ROLE, tags: false })
  await stage.aws.putRole({ arn: DATADOG_ROLE, trustPolicy })
  out.say(`The node's role is ${NODE_ROLE}.`)
  out.say("The Datadog agent's role trusts it:")
  out.ran(
    `aws iam create-role --role-name ${DATADOG_ROLE.split('/')[1]} --assume-role-policy-document …`,
    JSON.stringify(trustPolicy.Statement[0], null, 1).replace(/\n\s*/g, ' '),
  )
  const manifest = readFileSync(`${PROJECT}${MANIFEST}`, 'utf8')
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'datadog', namespace: 'datadog' },
    stringData: { 'api-key': 'not-a-real-key' },
  }
  const { objects, warnings } = await stage.kube.applyYaml(manifest)
  await stage.kube.apply(secret)
  const applied = objects.map(({ kind, metadata }) => `${kind.toLowerCase()}/${metadata.name} created`)
  out.ran(
    `kubectl apply -f ${MANIFEST}`,
    [...applied, ...warnings.map((text) => `Warning: ${text}`)].join('\n'),
  )
  const namespace = objects.find(({ kind }) => kind === 'Namespace')
  out.say('What makes it work is on the namespace,')
  const keys = { ...namespace?.metadata.labels, ...namespace?.metadata.annotations }
  for (const [key, value] of Object.entries(keys))
    if (key !== 'kubernetes.io/metadata.name') out.say(`  ${key}: ${value}`)
  out.say('and on the pod template:')
  out.say(`  iam.amazonaws.com/role: ${DATADOG_ROLE}`)
  const pod = await daemonSetPod(stage, 'datadog', AGENT_LABEL)
  out.shows(true, `pod ${pod} runs on ${stage.node.name}`)
  return pod
}

/** 2. What the injector added, and how the pod started. */
export async function showInjection(stage: Stage, out: Output, pod: string): Promise<void> {
  out.step('What the injector added to its pod, and how the pod started')
  const after = await stage.pods.get(pod)
  if (after === undefined) throw new Error(`pod ${pod} is gone`)
  out.ran(`diff <(pod template) <(kubectl get pod -n datadog ${pod.split('/')[1]} -o yaml)`, additions(after))
  const names = (after.spec.initContainers ?? []).map(({ name }) => name)
  out.shows(
    names.join() === 'pod2iam-sidecar,pod2iam-gate',
    'the pod has the sidecar (a native sidecar) and the gate, before everything of its own',
  )
  // This is the last line of the start that arrives through a pipe.
  const first = await stage.pods.waitForLog(pod, 'agent', /first request: (.*)/)
  const moments = startOf(stage.pods, pod)
  out.say('Its start, in milliseconds:')
  for (const { at, what } of moments) out.say(`  ${String(at).padStart(5)}  ${what}`)
  out.say(`         agent: ${first[0]}`)
  const order = ['block proven', 'redirect loaded', 'sidecar ready', 'agent started'].map((what) =>
    momentOf(moments, what),
  )
  const inOrder = order.every((at, i) => at !== undefined && at >= (order[i - 1] ?? 0))
  out.shows(
    inOrder,
    'real endpoint proven refused, then the redirect, then the sidecar ready with credentials, then the app',
  )
  out.shows(first[1]?.includes('HTTP 200') ?? false, "the app's very first instruction got its answer")
}

/** 3. What a process in the pod sees. Returns the pod's access key id. */
export async function showCredentials(stage: Stage, out: Output, pod: string): Promise<string> {
  out.step('Inside the pod: the metadata address answers with the pod’s own role')
  const exec = `kubectl exec -n datadog ${pod.split('/')[1]} --`
  const list = await stage.inPod(pod, 'curl', '-s', CREDENTIALS_URL)
  out.ran(`${exec} curl -s ${CREDENTIALS_URL}`, list.stdout)
  out.shows(list.stdout === DATADOG_ROLE, "that is the pod's role annotation")
  out.ran(`ROLE=${DATADOG_ROLE}`)
  const document = await stage.inPod(pod, 'curl', '-s', `${CREDENTIALS_URL}${DATADOG_ROLE}`)
  out.ran(`${exec} curl -s ${CREDENTIALS_URL}$ROLE`, shortenSecrets(document.stdout))
  const key = accessKeyOf(document.stdout)
  out.shows(key !== undefined, 'temporary credentials for that role (secrets shortened on this screen)')

  const ttl = 'X-aws-ec2-metadata-token-ttl-seconds: 60'
  const url = 'http://169.254.169.254/latest/api/token'
  const token = (await stage.inPod(pod, 'curl', '-s', '-X', 'PUT', '-H', ttl, url)).stdout
  out.ran(`TOKEN=$(${exec} curl -s -X PUT -H '${ttl}' ${url})`)
  const header = `X-aws-ec2-metadata-token: ${token}`
  const second = await stage.inPod(pod, 'curl', '-s', '-H', header, CREDENTIALS_URL + DATADOG_ROLE)
  out.ran(
    `${exec} curl -s -H "X-aws-ec2-metadata-token: $TOKEN" ${CREDENTIALS_URL}$ROLE`,
    shortenSecrets(second.stdout).split('\n').slice(0, 3).join('\n'),
  )
  out.shows(key !== undefined && accessKeyOf(second.stdout) === key, 'the same by IMDSv2')
  await showCallerIdentity(stage, out, pod, exec)
  return key ?? ''
}

async function showCallerIdentity(stage: Stage, out: Output, pod: string, exec: string): Promise<void> {
  const cli = peer('aws')
  const seen = cli !== undefined && (await stage.inPod(pod, 'test', '-x', cli)).code === 0
  if (!seen) return out.leftOut('aws sts get-caller-identity', 'no AWS CLI that a container here can see')
  const env = [`AWS_ENDPOINT_URL_STS=http://10.0.0.2`, 'HOME=/tmp']
  const identity = await stage.inPod(
    pod,
    'env',
    ...env,
    cli,
    'sts',
    'get-caller-identity',
    '--region=eu-west-1',
  )
  out.ran(`${exec} aws sts get-caller-identity --region=eu-west-1`, identity.stdout || identity.stderr)
  const session = `arn:aws:sts::111111111111:assumed-role/datadog-agent.services.kops.domain.com/${pod.replace('/', '.')}`
  out.shows(
    identity.stdout.includes(session),
    'AWS itself says who the pod is: its role, under its own session name',
  )
}

/** 4. The sidecar's log of these requests. */
export async function showLogs(stage: Stage, out: Output, pod: string): Promise<void> {
  out.step("The sidecar's log of these requests")
  await stage.pods.waitForLog(pod, 'pod2iam-sidecar', /(?:security-credentials.*\n[\s\S]*){4}/)
  const log = stage.pods.logs(pod, 'pod2iam-sidecar')
  const requests = log.split('\n').filter((line) => line.includes('security-credentials'))
  out.ran(
    `kubectl logs -n datadog ${pod.split('/')[1]} -c pod2iam-sidecar | grep security-credentials`,
    requests.join('\n'),
  )
  out.shows(requests.length >= 4, 'one line per credential request')
  out.shows(!/"(?:SecretAccessKey|Token)"|ASIA[A-Z0-9]{16}/.test(log), 'no key, no token in it')
}

/** 5. Other pods: another role, no role, not opted in, not allowed. Returns the pod without an annotation. */
export async function showOthers(stage: Stage, out: Output, agentKey: string): Promise<string> {
  out.step('Other pods: their own role, none, or a refusal')
  await showSecondRole(stage, out, agentKey)
  const plain = await showUnannotated(stage, out)
  await showNotOptedIn(stage, out)
  await showRefusal(stage, out)
  return plain
}

async function showSecondRole(stage: Stage, out: Output, agentKey: string): Promise<void> {
  await stage.role(REPORTS_ROLE)
  await stage.namespace('reports', { allowed: ['reports-*'] })
  const pod = await stage.pod('reports/nightly', {
    annotations: { 'iam.amazonaws.com/role': 'reports-reader' },
  })
  await stage.pods.waitFor(pod, isReady)
  const list = await stage.inPod(pod, 'curl', '-s', CREDENTIALS_URL)
  out.ran(`kubectl exec -n reports nightly -- curl -s ${CREDENTIALS_URL}`, list.stdout)
  const document = await stage.inPod(pod, 'curl', '-s', CREDENTIALS_URL + list.stdout)
  const key = accessKeyOf(document.stdout)
  out.shows(
    list.stdout === 'reports-reader' && key !== undefined && key !== agentKey,
    'another role, other credentials',
  )
}

async function showUnannotated(stage: Stage, out: Output): Promise<string> {
  const pod = await stage.pod('reports/plain')
  await stage.pods.waitFor(pod, isReady)
  const ask = async () => {
    const { code, stdout, stderr } = await stage.inPod(
      pod,
      'curl',
      '-sS',
      '-w',
      '%{time_total}',
      CREDENTIALS_URL,
    )
    return { code, stderr, milliseconds: Number(stdout) * 1000 }
  }
  let { code, stderr, milliseconds } = await ask()
  // curl itself may have to wait for a processor, whereas a dropped packet takes a second.
  for (let round = 1; code === 7 && milliseconds >= 100 && round < 5; round++)
    ({ code, stderr, milliseconds } = await ask())
  out.ran(`kubectl exec -n reports plain -- curl -sS ${CREDENTIALS_URL}`, stderr)
  out.shows(
    code === 7 && milliseconds < 900,
    `a pod without annotation is refused, in ${milliseconds.toFixed(1)} ms: no timeout to wait for`,
  )
  return pod
}

async function showNotOptedIn(stage: Stage, out: Output): Promise<void> {
  await stage.namespace('legacy', { label: null })
  const pod = await stage.pod('legacy/app', { annotations: { 'iam.amazonaws.com/role': 'reports-reader' } })
  const object = await stage.pods.waitFor(pod, isReady)
  out.ran(
    "kubectl get pod -n legacy app -o jsonpath='{.spec.initContainers}'",
    JSON.stringify(object?.spec.initContainers ?? []),
  )
  const { code } = await stage.inPod(pod, 'curl', '-s', CREDENTIALS_URL)
  out.shows(
    object?.spec.initContainers === undefined && code === 7,
    'a namespace that did not opt in is not touched (and its pods do not get the node’s role)',
  )
}

async function showRefusal(stage: Stage, out: Output): Promise<void> {
  const role = 'arn:aws:iam::222222222222:role/admin'
  const refusal = await stage.pod('reports/greedy', { annotations: { 'iam.amazonaws.com/role': role } }).then(
    () => '',
    (error: Error) => error.message,
  )
  out.ran('kubectl apply -f greedy.yaml', `Error from server: ${refusal}`)
  out.shows(
    refusal.includes('may not use role') && refusal.includes(role),
    'a role the namespace may not use is refused at apply time, in a sentence',
  )
}
