/** Clients that are slow, that open everything, or that read nothing. */
import type { Attacks, Step } from './attack.ts'
import { allowed, DOCUMENT, GOOD_HOST, LIST, lines, shape, TOKEN, TOKEN_PATH, TTL } from './wire.ts'

const READ = lines(`GET ${DOCUMENT} HTTP/1.1`, GOOD_HOST)

export const SLOW: Attacks = {
  'slow headers': (random) => {
    const steps: Step[] = [{ send: `GET ${DOCUMENT} HTTP/1.1\r\n${GOOD_HOST}\r\n` }]
    for (let part = random.whole(5, 30); part > 0; part--)
      steps.push({ wait: random.whole(50, 500) }, { send: `X-${part}: ` }, { send: 'a\r\n' })
    return shape(steps)
  },

  'a slow body': (random) => {
    const steps: Step[] = [{ send: lines(`PUT ${TOKEN_PATH} HTTP/1.1`, GOOD_HOST, 'Content-Length: 4000') }]
    for (let part = random.whole(5, 30); part > 0; part--)
      steps.push({ wait: random.whole(50, 500) }, { send: 'b' })
    return shape(steps)
  },

  'many connections that say nothing': (random) => ({
    ...shape([{ wait: random.whole(500, 4000) }]),
    requests: 0,
    linger: 0,
    connections: random.whole(10, 60),
  }),

  'many connections that begin a request': (random) => ({
    ...shape([{ send: `GET ${DOCUMENT} HTTP/1.1\r\n` }, { wait: random.whole(200, 2000) }]),
    linger: 0,
    connections: random.whole(5, 40),
  }),

  'a half-closed client': () => allowed([{ send: READ }, { halfClose: true }]),

  'a client that is gone at once': (random) =>
    allowed([{ send: READ.repeat(random.whole(1, 5)) }, { reset: true }], { requests: 5, linger: 0 }),

  'a pipelined flood': (random, { token }) => {
    const requests = random.whole(20, 100)
    const one = random.pick([
      READ,
      lines(`GET ${LIST} HTTP/1.1`, GOOD_HOST, `${TOKEN}: ${token}`),
      lines(`PUT ${TOKEN_PATH} HTTP/1.1`, GOOD_HOST, `${TTL}: 60`, 'Content-Length: 0'),
    ])
    return allowed([{ send: one.repeat(requests) }], { requests, linger: 1000 })
  },

  'a flood whose answers nobody reads': (random) => {
    const requests = random.whole(100, 300)
    return allowed([{ deaf: true }, { send: READ.repeat(requests) }, { wait: random.whole(200, 3000) }], {
      requests,
      linger: 0,
    })
  },
}
