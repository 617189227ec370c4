/**
 * Connects repeatedly to 169.254.169.254:80 in the network namespace in which it is started. When stdin closes, it makes 100 more
 * attempts, and prints how often and for how long the real endpoint could be reached.
 */
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

let attempts = 0
let answered = 0
let openMs = 0
let last = performance.now()
let stopping = false
process.stdin.on('end', () => {
  stopping = true
})
process.stdin.resume()

for (let more = 100; more > 0; stopping && more--) {
  const refused = await new Promise<boolean>((resolve) => {
    const socket = connect({ host: '169.254.169.254', port: 80 })
    socket.setTimeout(1000, () => socket.destroy(new Error('timeout')))
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', () => resolve(true))
  })
  const now = performance.now()
  if (!refused) {
    answered++
    openMs += now - last
  }
  last = now
  // The prober is warm now; a slow first attempt would hide what happens in the meantime.
  if (++attempts === 100) process.stdout.write('started\n')
  await wait(1)
}
process.stdout.write(`${JSON.stringify({ attempts, answered, openMs })}\n`)
