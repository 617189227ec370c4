/**
 * Runs in a network namespace of its own (`unshare --net`): the built sidecar with the default self-test, first without and
 * then with the redirect that the gate loads. Prints the results as one JSON line, with those of a client if the last
 * argument gives one: `{"command":…,"env":…}`.
 */
import { execFile } from 'node:child_process'
import { request } from 'node:http'
import { promisify } from 'node:util'
import { until } from '../../support/until.ts'
import { loopbackEnv, readyz, startBroker, startProcess } from './index.ts'
import { makePodNetwork, redirectTo } from './pod-network.ts'

const [, , directory = '', bundle = '', tokenFile = '', client] = process.argv
const workshop = { directory, bundle, tokenFile, remove: () => {} }

makePodNetwork()

const broker = await startBroker()
const sidecar = await startProcess(workshop, {
  ...loopbackEnv(workshop, broker.url),
  POD2IAM_SELF_TEST: 'redirect',
})
try {
  console.log(JSON.stringify(await observe()))
} finally {
  await sidecar.end('SIGKILL')
  await broker.close()
}

async function observe() {
  const before = await until('credentials are there', async () =>
    sidecar.logs.some(({ msg }) => msg === 'credentials obtained') ? readyz(sidecar.healthPort) : undefined,
  )
  redirectTo(sidecar.port)
  const loaded = Date.now()
  await until('it is ready', async () => (await readyz(sidecar.healthPort)).ready)
  const readyAfter = Date.now() - loaded
  return {
    before: before.code,
    readyAfter,
    v4: await list('169.254.169.254'),
    v6: await list('fd00:ec2::254'),
    client: client === undefined ? undefined : await ask(JSON.parse(client)),
  }
}

/** Runs a client and parses its output. */
async function ask({ command, env }: { command: string; env: Record<string, string> }): Promise<unknown> {
  const { stdout } = await promisify(execFile)(command, [], { env, timeout: 60_000 })
  return JSON.parse(stdout)
}

function list(host: string): Promise<string> {
  return new Promise<string>((done, fail) => {
    request({ host, path: '/latest/meta-data/iam/security-credentials/' }, (response) => {
      response.setEncoding('utf8').once('data', done)
    })
      .on('error', fail)
      .end()
  })
}
