/** Requests that end-to-end tests make inside pods. */
import { fileURLToPath } from 'node:url'
import type { Cluster } from '../sandbox/cluster.ts'
import { ADDRESSES } from '../sandbox/index.ts'

export const LIST = '/latest/meta-data/iam/security-credentials/'
export const [IPV4, IPV6] = ['169.254.169.254', '[fd00:ec2::254]'] as const
export const ROLE = 'iam.amazonaws.com/role'

const WHOAMI = fileURLToPath(new URL('./whoami.ts', import.meta.url))

export type Answer = {
  readonly status: number
  readonly body: string
  readonly milliseconds: number
  readonly refused: boolean
}

/** A GET from inside a pod with curl, without a retry, for at most twenty seconds. */
export async function get(cluster: Cluster, pod: string, url: string, ...options: string[]): Promise<Answer> {
  const format = '\\n%{http_code} %{time_total}'
  const argv = ['curl', '-sg', '--max-time', '20', '-w', format, ...options, url]
  const { stdout, code } = await cluster.pods.exec(pod, argv)
  const at = stdout.lastIndexOf('\n')
  const [status = 0, seconds = 0] = stdout
    .slice(at + 1)
    .split(' ')
    .map(Number)
  return { status, body: stdout.slice(0, at), milliseconds: seconds * 1000, refused: code === 7 }
}

/** The credential document of the pod, read with IMDSv1. */
export async function credentials(cluster: Cluster, pod: string): Promise<Record<string, string>> {
  const role = await get(cluster, pod, `http://${IPV4}${LIST}`)
  if (role.status !== 200) throw new Error(`the role list answered ${role.status}: ${role.body}`)
  const { body } = await get(cluster, pod, `http://${IPV4}${LIST}${role.body}`)
  return JSON.parse(body)
}

/** The identity of the pod at AWS, with the AWS SDK's default chain. */
export async function whoami(
  cluster: Cluster,
  pod: string,
  env: readonly string[] = [],
): Promise<{ arn: string; accessKeyId: string }> {
  const endpoint = `AWS_ENDPOINT_URL_STS=http://${ADDRESSES.vpc[0]}`
  const { stdout, stderr } = await cluster.pods.exec(pod, ['env', endpoint, ...env, process.execPath, WHOAMI])
  if (stdout === '') throw new Error(`the SDK obtained no credentials: ${stderr}`)
  return JSON.parse(stdout)
}
