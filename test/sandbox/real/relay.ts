/** Runs in a network namespace: forwards a unix socket to an address there. `relay.ts SOCKET HOST PORT` */
import { connect, createServer } from 'node:net'

const [socket = '', host = '', port = ''] = process.argv.slice(2)

createServer((near) => {
  const far = connect(Number(port), host)
  near.pipe(far)
  far.pipe(near)
  for (const [one, other] of [
    [near, far],
    [far, near],
  ] as const)
    one.on('error', () => other.destroy()).on('close', () => other.destroy())
}).listen(socket)
