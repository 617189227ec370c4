/** Calls AssumeRole for a role's ARN, with whatever credentials the machine it runs on has, and prints the session's ARN or STS' error. */
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'

const [RoleArn = '', endpoint = ''] = process.argv.slice(2)
try {
  const client = new STSClient({ region: 'eu-west-1', endpoint, maxAttempts: 1 })
  const session = await client.send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'root-on-the-node' }))
  process.stdout.write(`${session.AssumedRoleUser?.Arn}\n`)
} catch (error) {
  process.stdout.write(`${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}\n`)
}
