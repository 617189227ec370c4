/** Runs in a pod: with the AWS SDK's default chain and without configuration, it asks STS for its identity. */
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'

const client = new STSClient({ region: 'eu-west-1', maxAttempts: 1 })
const { Arn } = await client.send(new GetCallerIdentityCommand({}))
const { accessKeyId } = await client.config.credentials()
process.stdout.write(JSON.stringify({ arn: Arn, accessKeyId }))
