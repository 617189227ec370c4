import { BROKER_PORT, SIDECAR_PORT } from '../../../common/addresses.ts'
import { LOG_LEVELS } from '../../../common/log.ts'
import { duration, flag, invalid, oneOf, optionally, port, type Settings } from '../../../common/settings.ts'
import { ADDRESS_SETTINGS, boundedDuration } from '../shared-settings.ts'

const stepDuration = (fallback: string, help: string) =>
  boundedDuration(fallback, [10, Infinity], 'at least 10ms', help)

/** Settings of `firewall redirect`. */
export const GATE_SETTINGS = {
  redirect: oneOf(
    ['nft', 'env'],
    'nft',
    'nft: load the pod redirect; env: the app finds the sidecar by environment',
  ),
  proof: oneOf(['enforce', 'report'], 'enforce', 'report: log what the proof found and go on'),
  proofTimeout: stepDuration('60s', 'how long the real endpoint may stay reachable before this fails'),
  proofInterval: stepDuration('1s', 'pause between two proofs, and how long one waits for an answer'),
  acceptDrop: flag(false, 'three proofs in a row without an answer count as refused (Cilium drops silently)'),
  restartPolicy: oneOf(
    ['Always', 'OnFailure', 'Never'],
    'Always',
    "the pod's; with Never this waits for the block without end, since one failed init container ends such a pod",
  ),
  waitReady: optionally('URL of the sidecar readiness to wait for', httpUrl),
  waitTimeout: duration(undefined, 'how long to wait for it; without effect under --restart-policy=Never'),
  sidecarPort: port(SIDECAR_PORT, 'port of the sidecar on loopback'),
  brokerPort: port(BROKER_PORT, 'port of the broker'),
  ...ADDRESS_SETTINGS,
  logLevel: oneOf(LOG_LEVELS, 'info', 'least level that is logged'),
}
export type GateSettings = Settings<typeof GATE_SETTINGS>

function httpUrl(value: string): URL {
  const url = URL.parse(value)
  return url?.protocol === 'http:' ? url : invalid('must be a URL such as http://127.0.0.1:9170/readyz')
}
