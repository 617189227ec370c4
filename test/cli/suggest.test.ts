/** `audit --suggest`: what the present annotations need. This also runs with a real API server (test/sandbox/real/cli.test.ts). */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createLoopbackSandbox, type LoopbackSandbox } from '../sandbox/index.ts'
import { type Door, openDoor, run, runCommand, widest } from './support.ts'

const ROLE = 'iam.amazonaws.com/role'

const deployment = (namespace: string, name: string, annotations: object, spec: object = {}) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name }, annotations },
      spec: { containers: [{ name: 'app', image: 'app:1' }], ...spec },
    },
  },
})

describe('audit --suggest', () => {
  let sandbox: LoopbackSandbox
  let door: Door
  let kubeconfig = ''

  const namespace = (
    name: string,
    annotations: Record<string, string> = {},
    labels: Record<string, string> = {},
  ) => sandbox.kube.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, annotations, labels } })
  const create = (object: Parameters<typeof sandbox.kube.create>[0]) => sandbox.kube.create(object)

  before(async () => {
    sandbox = await createLoopbackSandbox()
    door = await openDoor(sandbox.api)
    kubeconfig = await door.kubeconfig()
    await namespace('bare')
    await namespace('listed', { 'iam.amazonaws.com/allowed-roles': '["web-*"]' })
    await namespace('kiams', { 'iam.amazonaws.com/permitted': '.*role/batch-.*' })
    await namespace(
      'ready',
      { 'iam.amazonaws.com/allowed-roles': '["app"]' },
      { 'pod2iam.dev/injection': 'enabled' },
    )
    await namespace('strict', {}, { 'pod-security.kubernetes.io/enforce': 'restricted' })
    await create(deployment('bare', 'one', { [ROLE]: 'reports' }))
    await create(deployment('bare', 'two', { [ROLE]: 'reports' }))
    await create(deployment('bare', 'host', { [ROLE]: 'reports' }, { hostNetwork: true }))
    await create(deployment('listed', 'web', { [ROLE]: 'web-front' }))
    await create(deployment('listed', 'other', { [ROLE]: "it's" }))
    await create(deployment('listed', 'more', { [ROLE]: '/path/more' }))
    await create(deployment('kiams', 'batch', { [ROLE]: 'batch-run' }))
    await create(deployment('ready', 'app', { [ROLE]: 'app' }))
    await create(deployment('kube-system', 'agent', { [ROLE]: 'agent' }))
    await create(deployment('strict', 'app', { [ROLE]: 'arn:aws:iam::222222222222:role/app' }))
    await create({
      apiVersion: 'batch/v1',
      kind: 'CronJob',
      metadata: { name: 'nightly', namespace: 'bare' },
      spec: {
        schedule: '0 0 * * *',
        jobTemplate: {
          spec: {
            template: {
              metadata: { annotations: { [ROLE]: 'nightly' } },
              spec: { restartPolicy: 'Never', containers: [{ name: 'app', image: 'app' }] },
            },
          },
        },
      },
    })
  })
  after(async () => {
    await door?.close()
    await sandbox?.close()
  })

  const cli = (...args: string[]) => run(['--kubeconfig', kubeconfig, 'audit', '--suggest', ...args])
  const LABEL = 'pod2iam.dev/injection=enabled'

  test('lists the roles of every namespace, what it allows today, and the missing commands', async () => {
    const { code, stdout } = await cli('-o', 'json', '--base-role-arn', 'arn:aws:iam::111111111111:role/')
    assert.equal(code, 1)
    const { namespaces } = JSON.parse(stdout)
    const commands = Object.fromEntries(
      namespaces.map((one: { namespace: string; commands: string[] }) => [one.namespace, one.commands]),
    )
    assert.deepEqual(commands, {
      bare: [
        `kubectl annotate --overwrite namespace bare 'iam.amazonaws.com/allowed-roles=["reports","nightly"]'`,
        `kubectl label namespace bare ${LABEL}`,
      ],
      kiams: [`kubectl label namespace kiams ${LABEL}`],
      'kube-system': [
        `kubectl annotate --overwrite namespace kube-system 'iam.amazonaws.com/allowed-roles=["agent"]'`,
        `kubectl label namespace kube-system ${LABEL}`,
      ],
      listed: [
        `kubectl annotate --overwrite namespace listed 'iam.amazonaws.com/allowed-roles=["web-*","path/more"]'`,
        `kubectl label namespace listed ${LABEL}`,
      ],
      ready: [],
      strict: [
        `kubectl annotate --overwrite namespace strict 'iam.amazonaws.com/allowed-roles=["arn:aws:iam::222222222222:role/app"]'`,
        `kubectl label namespace strict ${LABEL}`,
      ],
    })
    const notes = namespaces.flatMap((one: { notes: string[] }) => one.notes).join('\n')
    assert.match(notes, /on the host network.*: Deployment\/host/)
    assert.match(notes, /injector\.allowKubeSystem=true/)
    assert.match(notes, /PodSecurity restricted, so its pods get mode env/)
    assert.match(notes, /Deployment\/other cannot work with role "it's"/)
  })

  test('prints a table within 80 columns, and commands that a shell accepts as they are', async () => {
    const { stdout } = await cli('--base-role-arn', 'arn:aws:iam::111111111111:role/')
    const [head = ''] = stdout.split('To make all of it work:')
    assert.ok(widest(head) <= 80)
    const commands = stdout.match(/^kubectl .*$/gm) ?? []
    assert.equal(commands.length, 9)
    const script = `kubectl() { printf '%s\\n' "$4" >/dev/null; for word; do printf '<%s>' "$word"; done; echo; }\n${commands.join('\n')}`
    const { stdout: words } = await runCommand(['/bin/sh', '-c', script])
    assert.match(
      words,
      /<annotate><--overwrite><namespace><bare><iam\.amazonaws\.com\/allowed-roles=\["reports","nightly"\]>/,
    )
  })

  test('judges a role name by a permitted pattern even without a base role ARN', async () => {
    const { namespaces } = JSON.parse((await cli('-o', 'json')).stdout)
    const kiams = namespaces.find((one: { namespace: string }) => one.namespace === 'kiams')
    assert.deepEqual(
      kiams.roles.map(({ allowed }: { allowed: boolean | null }) => allowed),
      [true],
    )
  })

  test('suggests no further command when its commands have been run', async () => {
    const run = JSON.parse(
      (await cli('-o', 'json', '--base-role-arn', 'arn:aws:iam::111111111111:role/')).stdout,
    )
    for (const { namespace: name, allowedRoles, roles } of run.namespaces) {
      if (roles.length === 0) continue
      await sandbox.kube.patch('namespaces', name, undefined, {
        metadata: {
          labels: { 'pod2iam.dev/injection': 'enabled' },
          ...(allowedRoles === null
            ? {}
            : { annotations: { 'iam.amazonaws.com/allowed-roles': JSON.stringify(allowedRoles) } }),
        },
      })
    }
    await sandbox.kube.delete('deployments', 'other', 'listed')
    const after = JSON.parse(
      (await cli('-o', 'json', '--base-role-arn', 'arn:aws:iam::111111111111:role/')).stdout,
    )
    assert.deepEqual(
      after.namespaces.flatMap(({ commands }: { commands: string[] }) => commands),
      [],
    )
  })

  test('works with another role key', async () => {
    await create(deployment('bare', 'own', { 'example.com/role': 'own' }))
    const { namespaces } = JSON.parse((await cli('-o', 'json', '--role-key', 'example.com/role')).stdout)
    assert.deepEqual(
      namespaces.map((one: { namespace: string }) => one.namespace),
      ['bare'],
    )
  })

  test('does not know whether a name is on a list of ARNs without a base role ARN, and suggests no list', async () => {
    await namespace('arns', { 'iam.amazonaws.com/allowed-roles': '["arn:aws:iam::111111111111:role/web-*"]' })
    await create(deployment('arns', 'web', { [ROLE]: 'web-front' }))
    await create(deployment('arns', 'other', { [ROLE]: 'billing' }))
    const asked = async (...args: string[]) => {
      const { namespaces } = JSON.parse((await cli('-o', 'json', ...args)).stdout)
      return namespaces.find((one: { namespace: string }) => one.namespace === 'arns')
    }
    const unknown = await asked()
    assert.deepEqual(
      unknown.roles.map(({ role, allowed, why }: Record<string, unknown>) => [role, allowed, why]),
      [
        ['billing', null, null],
        ['web-front', null, null],
      ],
    )
    assert.equal(unknown.allowedRoles, null)
    assert.deepEqual(unknown.commands, [`kubectl label namespace arns ${LABEL}`])
    assert.match((await cli()).stdout, /arns +web-front +Deployment\/web +not known/)
    const known = await asked('--base-role-arn', 'arn:aws:iam::111111111111:role/')
    assert.deepEqual(
      known.roles.map(({ allowed }: { allowed: boolean | null }) => allowed),
      [false, true],
    )
  })
})
