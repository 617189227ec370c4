/** What must have held all the time. */
import { expect, type Group } from '../promise.ts'

export const throughout: Group = {
  title: 'In all of this',
  promises: [
    {
      name: 'only the nodes themselves reached the metadata service',
      leftOut: ({ aws }) =>
        aws.visitors === undefined ? 'EC2 does not tell who asked its metadata service' : undefined,
      show: async ({ aws }) => {
        const visitors = new Set(await aws.visitors?.())
        const strangers = [...visitors].filter((address) => !aws.nodeAddresses.includes(address))
        expect(visitors.size > 0, 'not even the broker asked')
        expect(strangers.length === 0, `so did ${strangers.join(', ')}`)
        return [...visitors].join(', ')
      },
    },
  ],
}
