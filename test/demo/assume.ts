/** Calls AssumeRole for the ARN of a role with the credentials of the machine on which it runs, and prints the ARN of the session or the error of STS. */
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'

const [RoleArn = '', endpoint = ''] = process.argv.slice(2)
try {
  const client = new STSClient({ region: 'eu-west-1', endpoint, maxAttempts: 1 })
  const session = await client.send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'root-on-the-node' }))
  process.stdout.write(`${session.AssumedRoleUser?.Arn}\n`)
} catch (error) {
  process.stdout.write(`${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}\n`)
}
