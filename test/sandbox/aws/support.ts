/** What the tests of the stand-in share. */
import assert from 'node:assert/strict'
import {
  AssumeRoleCommand,
  type AssumeRoleCommandInput,
  STSClient,
  type STSClientConfig,
} from '@aws-sdk/client-sts'
import type { Aws } from './client.ts'

/** An SDK client for the stand-in's STS, with one attempt per call. */
export function stsClient(aws: Aws, config: STSClientConfig): STSClient {
  return new STSClient({ endpoint: aws.stsUrl, region: aws.config.region, maxAttempts: 1, ...config })
}

/** The credentials of the node, as its metadata service serves them. */
export async function nodeCredentials(aws: Aws) {
  const role = aws.config.nodeRoleArn.replace(/.*\//, '')
  const response = await fetch(`${aws.imdsUrl}latest/meta-data/iam/security-credentials/${role}`)
  const document = (await response.json()) as Record<string, string>
  const { AccessKeyId = '', SecretAccessKey = '', Token = '' } = document
  return { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token }
}

/** AssumeRole with a session name; returns credentials in the form of an SDK's credential provider. */
export async function assume(client: STSClient, roleArn: string, more: Partial<AssumeRoleCommandInput> = {}) {
  const input = { RoleArn: roleArn, RoleSessionName: 'test', ...more }
  const { Credentials: keys, AssumedRoleUser: user } = await client.send(new AssumeRoleCommand(input))
  assert.ok(keys?.AccessKeyId && keys.SecretAccessKey && keys.SessionToken && keys.Expiration && user?.Arn)
  return {
    arn: user.Arn,
    expiration: keys.Expiration,
    credentials: {
      accessKeyId: keys.AccessKeyId,
      secretAccessKey: keys.SecretAccessKey,
      sessionToken: keys.SessionToken,
    },
  }
}

/** `Code: message` with which a call was refused; fails if it was not. */
export async function refusalOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  }
  return assert.fail('the call was not refused')
}
