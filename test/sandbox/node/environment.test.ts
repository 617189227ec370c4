import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { container, containerStatus, createSandbox, needsNamespaces, type Sandbox } from '../index.ts'
import { expand } from './environment.ts'
import { apply, IMAGES, outputOf, pod, sh } from './test-pods.ts'

test('$(NAME) is expanded, $$ becomes a dollar, and an unknown name stays', () => {
  const env = { A: '1', B: '' }
  assert.equal(expand('$(A)-$(B)-$(C)-$$(A)-$A-$', env), '1--$(C)-$(A)-$A-$')
})

describe('the environment of a container', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({
      images: { ...IMAGES, img: { command: ['/bin/sh', '-c'], env: { FROM: 'image', OVER: 'image' } } },
    })
  })
  after(() => sandbox?.close())

  test('has the variables of the image, of the service and its own, and none of this process', async () => {
    process.env.POD2IAM_TEST_LEAK = 'leak'
    const output = await outputOf(sandbox, 'exact', '/usr/bin/env | sort', {
      container: {
        image: 'img',
        env: [
          { name: 'OVER', value: 'own' },
          { name: 'SEEN', value: '$(OVER)/$(NOT)' },
        ],
      },
    })
    assert.deepEqual(output.trim().split('\n'), [
      'FROM=image',
      'HOME=/root',
      'HOSTNAME=exact',
      'KUBERNETES_PORT=tcp://10.0.0.3:6443',
      'KUBERNETES_PORT_6443_TCP=tcp://10.0.0.3:6443',
      'KUBERNETES_SERVICE_HOST=10.0.0.3',
      'KUBERNETES_SERVICE_PORT=6443',
      'KUBERNETES_SERVICE_PORT_HTTPS=6443',
      'OVER=own',
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'PWD=/',
      'SEEN=own/$(NOT)',
    ])
  })

  test('has by fieldRef the names of pod and node and their addresses', async () => {
    const fields = {
      NAME: 'metadata.name',
      NAMESPACE: 'metadata.namespace',
      UID: 'metadata.uid',
      NOTE: "metadata.annotations['example.com/note']",
      LABEL: "metadata.labels['app']",
      NODE: 'spec.nodeName',
      ACCOUNT: 'spec.serviceAccountName',
      IP: 'status.podIP',
      IPS: 'status.podIPs',
      HOST: 'status.hostIP',
    }
    const env = Object.entries(fields).map(([name, fieldPath]) => ({
      name,
      valueFrom: { fieldRef: { fieldPath } },
    }))
    const script = Object.keys(fields)
      .map((name) => `echo "$${name}"`)
      .join(';')
    const output = await outputOf(sandbox, 'fields', script, {
      container: { env },
      metadata: { annotations: { 'example.com/note': 'n' }, labels: { app: 'a' } },
    })
    const [name, namespace, uid, note, label, node, account, ip, ips, host] = output.split('\n')
    assert.deepEqual(
      [name, namespace, note, label, account, host],
      ['fields', 'default', 'n', 'a', 'default', '10.0.0.10'],
    )
    const found = await sandbox.pods.get('fields')
    assert.equal(uid, found?.metadata.uid)
    assert.equal(node, sandbox.node.name)
    assert.match(ip ?? '', /^10\.244\.1\.\d+$/)
    assert.match(ips ?? '', /^10\.244\.1\.\d+,fd00:244::\d+$/)
  })

  test('has keys of a ConfigMap and a Secret, and all keys with a prefix', async () => {
    await sandbox.kube.create({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'env' },
      data: { a: '1' },
    })
    await sandbox.kube.create({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'env' },
      data: { s: btoa('2') },
    })
    const output = await outputOf(sandbox, 'from', 'echo $ALL_a $A $S ${MISSING-unset}', {
      container: {
        envFrom: [{ prefix: 'ALL_', configMapRef: { name: 'env' } }],
        env: [
          { name: 'A', valueFrom: { configMapKeyRef: { name: 'env', key: 'a' } } },
          { name: 'S', valueFrom: { secretKeyRef: { name: 'env', key: 's' } } },
          { name: 'MISSING', valueFrom: { secretKeyRef: { name: 'none', key: 's', optional: true } } },
        ],
      },
    })
    assert.equal(output, '1 1 2 unset\n')
  })

  test('is refused with a sentence if the sandbox does not support a part of it', async () => {
    const env = [{ name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } }]
    const key = await apply(sandbox, pod('unknown', { containers: [sh('app', 'true', { env })] }))
    const found = await sandbox.pods.waitFor(
      key,
      container('app', ({ state }) => JSON.stringify(state).includes('ConfigError')),
    )
    assert.match(JSON.stringify(containerStatus(found, 'app')?.state), /env CPU: the sandbox knows fieldRef/)
  })

  test('is expanded in command, which replaces entrypoint and arguments of the image, and in args, which replace the arguments', async () => {
    sandbox.node.images.words = { command: ['/bin/echo', 'entry'], args: ['default'] }
    const env = [{ name: 'WORD', value: 'w' }]
    const run = (name: string, rest: object) =>
      outputOf(sandbox, name, '', { container: { image: 'words', env, ...rest } })
    assert.equal(await run('args', { args: ['$(WORD)'] }), 'entry w\n')
    assert.equal(await run('command', { command: ['/bin/echo', '$(WORD)'], args: ['x'] }), 'w x\n')
    assert.equal(await run('defaults', { args: undefined }), 'entry default\n')
  })

  test('has workingDir as its directory, and resolves the names of the pod and of given hosts', async () => {
    const output = await outputOf(
      sandbox,
      'names',
      'pwd; getent hosts names | head -1; getent ahostsv4 sts.eu-west-1.amazonaws.com | head -1',
      {
        container: { workingDir: '/srv/app' },
      },
    )
    assert.match(output, /^\/srv\/app\n.*names\n10\.0\.0\.2 /)
  })
})
