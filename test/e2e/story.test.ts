/** The promise of the product on a whole node, in both kinds of pod network. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { container, hasPhase, isReady, needsNamespaces } from '../sandbox/index.ts'
import { credentials, get, IPV4, IPV6, LIST, ROLE, whoami } from './pods.ts'

for (const topology of ['routed', 'bridge'] as const)
  describe(`a node with ${topology} pods`, needsNamespaces(), () => {
    let cluster: Cluster
    const ready = async (pod: Promise<string>) => {
      const name = await pod
      await cluster.pods.waitFor(name, isReady)
      return name
    }

    before(async () => {
      cluster = await createCluster({
        topology,
        injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'],
      })
      await Promise.all([
        cluster.role('shop-orders'),
        cluster.role('shop-billing'),
        cluster.role('team/reader'),
      ])
      await cluster.namespace('shop', { allowed: ['shop-*', 'team/*'] })
    })
    after(async () => {
      await cluster?.close()
    })

    test('an annotated pod gets its own credentials with IMDSv1 over IPv4 and IPv6', async () => {
      const pod = await ready(cluster.pod('shop/orders', { annotations: { [ROLE]: 'shop-orders' } }))
      for (const address of [IPV4, IPV6]) {
        const list = await get(cluster, pod, `http://${address}${LIST}`)
        assert.deepEqual([list.status, list.body], [200, 'shop-orders'])
        const document = JSON.parse((await get(cluster, pod, `http://${address}${LIST}shop-orders`)).body)
        assert.equal(document.Code, 'Success')
        const [session] = await cluster.aws.sessions({ accessKeyId: document.AccessKeyId })
        assert.equal(session?.role, cluster.aws.roleArn('shop-orders'))
      }
    })

    test('the AWS SDK’s default chain in the pod gets the pod’s role with the pod’s role session name', async () => {
      const pod = await ready(cluster.pod('shop/sdk', { annotations: { [ROLE]: 'team/reader' } }))
      const { arn } = await whoami(cluster, pod)
      assert.equal(arn, 'arn:aws:sts::111111111111:assumed-role/reader/shop.sdk')
    })

    test('IMDSv2 works, and IMDSv1 is refused where the pod requires IMDSv2', async () => {
      const annotations = { [ROLE]: 'shop-orders', 'pod2iam.dev/imds-tokens': 'required' }
      const pod = await ready(cluster.pod('shop/v2', { annotations }))
      assert.equal((await get(cluster, pod, `http://${IPV4}${LIST}`)).status, 401)
      const token = await get(
        cluster,
        pod,
        `http://${IPV4}/latest/api/token`,
        '-XPUT',
        '-HX-aws-ec2-metadata-token-ttl-seconds: 60',
      )
      const list = await get(
        cluster,
        pod,
        `http://${IPV4}${LIST}`,
        `-HX-aws-ec2-metadata-token: ${token.body}`,
      )
      assert.deepEqual([list.status, list.body], [200, 'shop-orders'])
      assert.match((await whoami(cluster, pod)).arn, /assumed-role\/shop-orders\/shop\.v2$/)
    })

    test('two pods of one role have different credentials, and cannot get another role', async () => {
      const annotations = { [ROLE]: 'shop-billing' }
      const [a, b] = await Promise.all(
        ['shop/a', 'shop/b'].map((name) => ready(cluster.pod(name, { annotations }))),
      )
      const keys = [await credentials(cluster, a ?? ''), await credentials(cluster, b ?? '')]
      assert.notEqual(keys[0]?.AccessKeyId, keys[1]?.AccessKeyId)
      assert.equal((await get(cluster, a ?? '', `http://${IPV4}${LIST}shop-orders`)).status, 404)
    })

    test('an init container of the app already has credentials', async () => {
      const script = `curl -s http://${IPV4}${LIST} && echo`
      const pod = await ready(
        cluster.pod('shop/init', {
          annotations: { [ROLE]: 'shop-orders' },
          spec: { initContainers: [{ name: 'early', image: IDLE_IMAGE, command: ['sh', '-c', script] }] },
        }),
      )
      assert.equal(cluster.pods.logs(pod, 'early'), 'shop-orders\n')
    })

    test('the pod of a Job completes despite its sidecar', async () => {
      const pod = await cluster.pod('shop/job', {
        annotations: { [ROLE]: 'shop-orders' },
        containers: [{ name: 'app', image: IDLE_IMAGE, command: ['curl', '-sf', `http://${IPV4}${LIST}`] }],
        spec: { restartPolicy: 'Never' },
      })
      await cluster.pods.waitFor(pod, hasPhase('Succeeded'))
      assert.equal(cluster.pods.logs(pod).trim(), 'shop-orders')
    })

    test('a pod without an annotation is refused within milliseconds over IPv4 and IPv6, at every port', async () => {
      const pod = await ready(cluster.pod('shop/plain'))
      for (const target of [IPV4, IPV6, `${IPV4}:8080`]) {
        const answers = []
        for (let round = 0; round < 5; round++)
          answers.push(await get(cluster, pod, `http://${target}${LIST}`))
        assert.ok(
          answers.every(({ refused }) => refused),
          target,
        )
        // Only the quickest answer counts, since any may have waited for a processor. A dropped packet, or an ICMPv6 error instead of a reset, takes a second.
        const quickest = Math.min(...answers.map(({ milliseconds }) => milliseconds))
        assert.ok(quickest < 900, `${quickest} ms`)
      }
    })

    test('a pod in a namespace that is not opted in is unchanged', async () => {
      await cluster.namespace('other', { label: null, allowed: ['*'] })
      const pod = await ready(cluster.pod('other/app', { annotations: { [ROLE]: 'shop-orders' } }))
      const { spec } = (await cluster.pods.get(pod)) ?? assert.fail()
      assert.deepEqual([spec.initContainers, spec.containers.length], [undefined, 1])
      assert.equal((await get(cluster, pod, `http://${IPV4}${LIST}`)).refused, true)
    })

    test('a role that the namespace may not use is refused at apply with the reason', async () => {
      await assert.rejects(cluster.pod('shop/greedy', { annotations: { [ROLE]: 'admin' } }), {
        message:
          /denied the request: pod2iam: namespace shop may not use role "arn:aws:iam::111111111111:role\/admin"/,
      })
    })

    test('a pod in a namespace labelled all gets the default role, or only the region if there is none', async () => {
      await cluster.role('defaults')
      await cluster.namespace('every', {
        label: 'all',
        allowed: ['defaults'],
        annotations: { 'iam.amazonaws.com/default-role': 'defaults' },
      })
      await cluster.namespace('region-only', { label: 'all' })
      const [named, bare] = await Promise.all([
        ready(cluster.pod('every/app')),
        ready(cluster.pod('region-only/app')),
      ])
      assert.match((await whoami(cluster, named)).arn, /assumed-role\/defaults\/every\.app$/)
      assert.equal((await get(cluster, bare, `http://${IPV4}${LIST}`)).status, 404)
      assert.equal(
        (await get(cluster, bare, `http://${IPV4}/latest/meta-data/placement/region`)).body,
        'eu-west-1',
      )
    })

    test('a pod under PodSecurity restricted gets its credentials in mode env', async () => {
      await cluster.kube.create({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name: 'strict',
          labels: { 'pod2iam.dev/injection': 'enabled', 'pod-security.kubernetes.io/enforce': 'restricted' },
          annotations: { 'iam.amazonaws.com/allowed-roles': '["shop-orders"]' },
        },
      })
      const securityContext = {
        runAsUser: 1000,
        runAsNonRoot: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
        seccompProfile: { type: 'RuntimeDefault' },
      }
      const pod = await ready(
        cluster.pod('strict/app', {
          annotations: { [ROLE]: 'shop-orders' },
          containers: [{ name: 'app', image: IDLE_IMAGE, securityContext }],
        }),
      )
      assert.match((await whoami(cluster, pod)).arn, /assumed-role\/shop-orders\/strict\.app$/)
      assert.equal((await get(cluster, pod, `http://${IPV4}${LIST}`)).refused, true)
    })

    test('an external id and a session name reach STS, and the external id is in no log', async () => {
      await cluster.role('shop-partner', { externalId: 'partner-4711' })
      const annotations = {
        [ROLE]: 'shop-partner',
        'iam.amazonaws.com/external-id': 'partner-4711',
        'iam.amazonaws.com/session-name': 'nightly',
      }
      const pod = await ready(cluster.pod('shop/partner', { annotations }))
      assert.match((await whoami(cluster, pod)).arn, /assumed-role\/shop-partner\/shop\.nightly$/)
      assert.doesNotMatch(await cluster.allLogs(), /partner-4711/)
    })

    test('a pod gets 404 for user data, the node’s role and its signatures', async () => {
      const pod = await ready(cluster.pod('shop/curious', { annotations: { [ROLE]: 'shop-orders' } }))
      for (const path of [
        'user-data',
        'meta-data/identity-credentials/ec2/security-credentials/ec2-instance',
        'dynamic/instance-identity/pkcs7',
        'meta-data/iam/security-credentials/node',
      ])
        assert.equal((await get(cluster, pod, `http://${IPV4}/latest/${path}`)).status, 404, path)
    })

    test('a pod whose role does not trust the node does not start, and its log says what to change', async () => {
      await cluster.aws.putRole({ arn: 'shop-closed', trustPolicy: { Version: '2012-10-17', Statement: [] } })
      const pod = await cluster.pod('shop/closed', { annotations: { [ROLE]: 'shop-closed' } })
      await cluster.pods.waitForLog(pod, 'pod2iam-sidecar', /trust policy/)
      const status = await cluster.pods.waitFor(
        pod,
        container('pod2iam-gate', ({ state }) => 'running' in state),
      )
      assert.equal(status?.status?.phase, 'Pending')
      assert.match(
        cluster.pods.logs(pod, 'pod2iam-sidecar'),
        /its trust policy needs the statement .*sts:AssumeRole/,
      )
    })

    test('no pod has reached the real endpoint in these tests, and no log contains a key or a token', async () => {
      const peers = Object.keys(await cluster.aws.imdsConnections())
      assert.deepEqual(
        peers.filter((peer) => !['10.0.0.10', 'fd00:10::10'].includes(peer)),
        [],
      )
      const logs = await cluster.allLogs()
      assert.match(logs, /credentials obtained/)
      for (const { accessKeyId } of await cluster.aws.sessions()) assert.ok(!logs.includes(accessKeyId))
      for (const pod of ['shop/orders', 'shop/sdk', 'shop/a', 'shop/b', 'every/app']) {
        const { SecretAccessKey = '', Token = '' } = await credentials(cluster, pod)
        assert.ok(SecretAccessKey !== '' && !logs.includes(SecretAccessKey) && !logs.includes(Token), pod)
      }
      assert.doesNotMatch(logs, /eyJ[\w-]{20}|SecretAccessKey|"Token"/)
    })
  })
