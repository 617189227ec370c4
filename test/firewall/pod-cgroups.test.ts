/** The cgroup of a process, from its /proc/self/cgroup, and the reason if rules by cgroup would not work there. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { podCgroups } from '../../node-guard/firewall/host-network/cgroups.ts'

const POD = 'poda7895703-a821-495e-ac88-64c7fd1849f8'

test('the pod’s cgroup and the root of all pods are found on cgroup v2, also below a configured root of the kubelet', () => {
  for (const root of ['kubepods', 'of-a-test/node-1/kubepods'])
    assert.deepEqual(podCgroups(`0::/${root}/burstable/${POD}/4bce28790bdd\n`), {
      ...{ ok: true, root, own: `${root}/burstable/${POD}` },
    })
})

test('controllers of cgroup v1 that the node uses for something else do not matter', () => {
  const self = `4:memory:/process_api\n1:cpu:/\n0::/kubepods/${POD}/4bce28790bdd\n`
  assert.equal(podCgroups(self).ok, true)
})

test('cgroup v1 is reported, also if the container runtime uses v2 as well', () => {
  const path = `/kubepods/burstable/${POD}/4bce28790bdd`
  for (const v2 of ['', '0::/\n', `0::${path}\n`]) {
    const found = podCgroups(`9:name=systemd:${path}\n4:memory:${path}\n${v2}`)
    assert.match(found.ok ? found.root : found.detail, /has cgroup v1, .*boot it with cgroup v2/)
  }
})
