/** The AWS SDK for JavaScript v3 with its default chain: who AWS says this is, once at the start and again for each line of stdin. */
import { createInterface } from 'node:readline'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'

const client = new STSClient()

async function whoami(forceRefresh: boolean) {
  try {
    const { accessKeyId, expiration } = await client.config.credentials({ forceRefresh })
    const { Arn } = await client.send(new GetCallerIdentityCommand())
    return { arn: Arn, accessKeyId, expiration }
  } catch (error) {
    return { error: String(error) }
  }
}

console.log(JSON.stringify(await whoami(false)))
for await (const _ of createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await whoami(true)))
