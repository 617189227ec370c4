/** Startup, readiness and liveness probes. */
import { setTimeout as wait } from 'node:timers/promises'
import { hostPort } from '../../../common/addresses.ts'
import { RELEASE } from '../kube/server/version.ts'
import type { ContainerProcess } from './container-process.ts'
import type { Dial, DialAnswer } from './dialer.ts'
import type { Container, Probe } from './pod.ts'

export type ProbeTarget = {
  readonly container: Container
  readonly process: ContainerProcess
  /** Address for httpGet and tcpSocket unless they name a host. */
  readonly host: string
  readonly dial: Dial
}

/** One attempt. */
async function attempt(probe: Probe, target: ProbeTarget): Promise<DialAnswer> {
  const timeout = (probe.timeoutSeconds ?? 1) * 1000
  if (probe.exec !== undefined) {
    const { code, stdout, stderr } = await target.process.exec(probe.exec.command, { timeout })
    return { ok: code === 0, detail: (stdout + stderr).trim() }
  }
  if (probe.httpGet !== undefined) {
    const { path = '/', port, host = target.host, scheme = 'HTTP', httpHeaders = [] } = probe.httpGet
    const authority = hostPort(host, portNumber(target.container, port))
    const headers = Object.fromEntries(httpHeaders.map(({ name, value }) => [name, value]))
    const url = `${scheme.toLowerCase()}://${authority}${path.startsWith('/') ? path : `/${path}`}`
    return target.dial({
      kind: 'http',
      url,
      headers: { 'user-agent': `kube-probe/${RELEASE}`, ...headers },
      timeout,
    })
  }
  if (probe.tcpSocket !== undefined) {
    const { port, host = target.host } = probe.tcpSocket
    return target.dial({ kind: 'tcp', host, port: portNumber(target.container, port), timeout })
  }
  return { ok: false, detail: 'the sandbox knows exec, httpGet and tcpSocket probes' }
}

/**
 * Probes until the container ends (`signal`).
 *
 * @param on called when the state changes: after successThreshold successes or failureThreshold failures in a row
 */
export async function probeUntil(
  probe: Probe,
  target: ProbeTarget,
  signal: AbortSignal,
  on: (ok: boolean, detail: string) => void,
): Promise<void> {
  const { initialDelaySeconds = 0, periodSeconds = 10, failureThreshold = 3, successThreshold = 1 } = probe
  let state: boolean | undefined
  let inARow = 0
  let last: boolean | undefined
  try {
    await wait(initialDelaySeconds * 1000, undefined, { signal, ref: false })
    while (!signal.aborted) {
      const { ok, detail } = await attempt(probe, target)
      if (signal.aborted) return
      inARow = ok === last ? inARow + 1 : 1
      last = ok
      if (ok !== state && inARow >= (ok ? successThreshold : failureThreshold)) {
        state = ok
        on(ok, detail)
      }
      await wait(periodSeconds * 1000, undefined, { signal, ref: false })
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

function portNumber(container: Container, port: number | string): number {
  if (typeof port === 'number') return port
  const named = container.ports?.find(({ name }) => name === port)?.containerPort
  return named ?? Number(port)
}
