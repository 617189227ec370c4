/** Clients without permission connect to the broker again and again, from many addresses, with what costs it most. */
import { connect } from 'node:net'

/** Loopback addresses that no pod of the bench has. */
const ADDRESSES = 200
/** As many as the broker allows one peer. */
const PER_ADDRESS = 4
const TOKEN = `${'e'.repeat(1300)}.${'e'.repeat(2600)}.${'e'.repeat(600)}`
const HEAD = 'GET /v1/credentials HTTP/1.1\r\nHost: broker\r\n'

/** What one connection sends before it is closed, and how long it is kept. */
const SHAPES: readonly { readonly bytes: string; readonly ms: number }[] = [
  { bytes: '', ms: 3000 },
  { bytes: HEAD, ms: 3000 },
  { bytes: `${HEAD}X: ${'x'.repeat(11_000)}`, ms: 3000 },
  { bytes: `${HEAD}Authorization: Bearer ${TOKEN}\r\n\r\n`.repeat(20), ms: 1000 },
  { bytes: `${HEAD}\r\n`, ms: 500 },
]

export function startStorm(port: number): { readonly stop: () => Promise<void> } {
  let stopping = false
  let turn = 0
  const stranger = async (localAddress: string) => {
    while (!stopping) {
      const { bytes, ms } = SHAPES[turn++ % SHAPES.length] ?? { bytes: '', ms: 0 }
      await new Promise<void>((resolve) => {
        const socket = connect({ host: '127.0.0.1', port, localAddress })
        const timer = setTimeout(() => socket.destroy(), ms)
        socket
          .on('connect', () => socket.write(bytes))
          // Answers are not read while the connection is open.
          .on('error', () => {})
          .on('close', () => {
            clearTimeout(timer)
            setTimeout(resolve, 100)
          })
      })
    }
  }
  const strangers = Array.from({ length: ADDRESSES * PER_ADDRESS }, (_, index) =>
    stranger(`127.88.0.${(index % ADDRESSES) + 1}`),
  )
  return {
    stop: async () => {
      stopping = true
      await Promise.all(strangers)
    },
  }
}
