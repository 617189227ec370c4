/** How the broker identifies a caller, without HTTP, with an API server that counts its reads. */
import assert from 'node:assert/strict'
import { parseSettings } from '../../common/settings.ts'
import { authenticator } from '../../node-guard/broker/authenticate/authenticate.ts'
import { authorizer } from '../../node-guard/broker/authorize/authorize.ts'
import { limitedReader } from '../../node-guard/broker/kubernetes/limited-reader.ts'
import { liveReads } from '../../node-guard/broker/kubernetes/live-reads.ts'
import { namespaceStore } from '../../node-guard/broker/kubernetes/namespaces.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { podStore } from '../../node-guard/broker/kubernetes/pods.ts'
import { BROKER_SETTINGS, entitlementSettings } from '../../node-guard/broker/settings.ts'
import { fakeClock } from '../support/fake-clock.ts'

export const PEER = '10.0.0.1'
export const ROLE_KEY = 'iam.amazonaws.com/role'

/**
 * @param answer the object that the API server returns for a path
 * @param podName the pod name in the token of a pod's uid; the token is the uid itself here
 */
export function judgement(
  answer: (path: string) => object | undefined | Promise<object | undefined>,
  podName: (uid: string) => string,
) {
  const clock = fakeClock()
  const state = { reads: 0 }
  const get = async (path: string) => {
    state.reads++
    return answer(path)
  }
  const result = parseSettings(BROKER_SETTINGS, { argv: ['--node-name', 'node-1'], env: {} })
  assert.ok(result.ok)
  const pods = podStore((one) => podRecord(one, ROLE_KEY))
  const namespaces = namespaceStore(clock)
  const nodeName = 'node-1'
  const live = limitedReader({ get }, clock)
  const reads = liveReads({ pods, namespaces, live, clock, nodeName, roleKey: ROLE_KEY })
  const authenticate = authenticator({
    verify: async (uid = '') => ({
      namespace: 'shop',
      serviceAccount: 'default',
      podName: podName(uid),
      podUid: uid,
      nodeName: undefined,
    }),
    ...{ pods, reads, clock, nodeName, roleKey: ROLE_KEY },
    ownAddresses: [],
    onRefused: () => {},
    onRejected: () => {},
  })
  const { namespaceOf } = authorizer({
    namespaces,
    reads,
    accounts: undefined,
    settings: entitlementSettings(result.settings),
    roles: () => assert.fail('not asked'),
    whyUnguarded: async () => undefined,
  })
  /** `ok`, or the code of the refusal. */
  const code = (uid: string) =>
    authenticate({ authorization: uid, peer: PEER }).then(
      () => 'ok',
      (error: { code: string }) => error.code,
    )
  return { clock, state, pods, namespaces, namespaceOf, code }
}
