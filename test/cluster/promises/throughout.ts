/** What must hold during the whole test. */
import type { AwsSide } from '../aws/aws-side.ts'
import { expect, type Group } from '../promise.ts'

export const throughout: Group = {
  title: 'Throughout',
  promises: [
    {
      name: 'only the nodes themselves reached the metadata service',
      leftOut: ({ aws }) =>
        aws.visitors === undefined ? 'EC2 does not tell who asked its metadata service' : undefined,
      show: async ({ aws }) => {
        const visitors = await onlyNodes(aws)
        expect(visitors.length > 0, 'not even the broker asked')
        return visitors.join(', ')
      },
    },
  ],
}

/** Who has reached the metadata service so far. @throws Error when anybody but the nodes did */
export async function onlyNodes({ visitors, nodeAddresses }: AwsSide): Promise<string[]> {
  const all = [...new Set(await visitors?.())]
  const strangers = all.filter((address) => !nodeAddresses.includes(address))
  expect(strangers.length === 0, `so did ${strangers.join(', ')}`)
  return all
}
