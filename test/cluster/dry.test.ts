/** `npm run test:cluster` against the sandbox: every promise is shown once, and each kind of promise is broken once. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import { peer } from '../peers/peers.ts'
import { type KubeObject, needsNamespaces } from '../sandbox/index.ts'
import { type DryCluster, openDryCluster } from './access/dry.ts'
import { installStandIn } from './aws/stand-in.ts'
import { changesOf } from './changes.ts'
import { cleanUp, runsLeft } from './cleanup.ts'
import { podsOf, readyPod, refOf } from './cluster-pods.ts'
import { type Context, valuesOf } from './context.ts'
import { dryOptions } from './dry-options.ts'
import { clients, expectServed } from './load.ts'
import { OPTIONS } from './options.ts'
import { ROLE } from './pods.ts'
import { type Group, showGroup, until, type Verdict } from './promise.ts'
import { changes, settled, underLoad } from './promises/changes.ts'
import { identities } from './promises/identities.ts'
import { operator } from './promises/operator.ts'
import { refusals } from './promises/refusals.ts'
import { uninstall } from './promises/uninstall.ts'
import { INJECTOR } from './rollout.ts'
import { type Ground, groups, prepare, survey } from './run.ts'

const parsed = parseSettings(OPTIONS, { argv: ['--dry'], env: {} })
assert.ok(parsed.ok)
/** Values that are changed here; `npm run test:cluster -- --dry` changes all. */
const CHANGED = ['imdsTokens', 'audit and enforce']
const options = { ...dryOptions(parsed.settings), changes: CHANGED }

describe('test:cluster in the sandbox', needsNamespaces(), () => {
  let cluster: DryCluster
  let ground: Ground
  let context: Context

  before(async () => {
    cluster = await openDryCluster(options)
    const signal = new AbortController().signal
    ground = await survey({ access: cluster, options, signal, progress: () => undefined })
    context = await prepare(ground)
  })
  after(async () => {
    await cluster?.close()
  })

  /** Short waits, because what is broken on purpose need not be waited for. */
  const show = (group: Group, only: RegExp, waitSeconds = options.waitSeconds) => {
    const promises = group.promises.filter(({ name }) => only.test(name))
    assert.equal(promises.length, 1, `one promise of ${only}`)
    return showGroup({ ...context, options: { ...options, waitSeconds } }, { title: group.title, promises })
  }
  const allKept = (verdicts: readonly Verdict[]) => {
    const broken = verdicts.filter(({ outcome }) => outcome === 'broken')
    assert.deepEqual(broken, [])
  }
  const broken = ([verdict]: readonly Verdict[], why: RegExp) => {
    assert.equal(verdict?.outcome, 'broken', verdict?.detail)
    assert.match(verdict.detail, why)
  }

  for (const group of groups().filter((group) => group !== uninstall))
    test(`every promise of “${group.title}” is kept`, async () => {
      const verdicts = await showGroup(context, group)
      allKept(verdicts)
      const leftOut = verdicts.filter(({ outcome }) => outcome === 'left out').map(({ promise }) => promise)
      assert.deepEqual(leftOut, expectedOut(group))
    })

  /** What is left out, by name. */
  const expectedOut = ({ title, promises }: Group) => {
    // The sandbox has one node, which cannot be rebooted.
    if (['Several nodes', 'Reboot'].includes(title)) return promises.map(({ name }) => name)
    // test/cli and test/e2e show these in the sandbox, in more detail.
    if (title === operator.title || title === identities.title) return promises.map(({ name }) => name)
    const values = Object.keys(changesOf(options))
    const unchanged = peer('helm') === undefined ? values : values.filter((name) => !CHANGED.includes(name))
    return title === changes.title ? unchanged : []
  }

  test('replicas that accept only their own form of the sidecar break the promise that no pod is refused', async () => {
    const { installation, kube } = cluster
    const more = { injector: { replicas: 2 } }
    await installation.apply(valuesOf(context, { previous: true, more }), 'previous')
    // Two replicas of the previous release that differ in one value.
    const act = async () => {
      type Deployment = KubeObject & { spec: { template: { spec: { containers: { args: string[] }[] } } } }
      const deployment = await kube.get<Deployment>('deployments', INJECTOR, options.namespace)
      for (const container of deployment.spec.template.spec.containers)
        container.args = [
          ...container.args.filter((flag) => !flag.startsWith('--imds-tokens=')),
          '--imds-tokens=required',
        ]
      await kube.update(deployment)
    }
    await assert.rejects(
      underLoad(context, [ROLE], [{ what: 'upgrade', act }]),
      /of \d+ admissions went wrong\n(?:.*\n)*.*refused: .*as the injector adds it/,
    )
    await installation.apply(valuesOf(context))
    await settled(context)
  })

  test('a node whose rules are gone breaks the promise that pods are refused', async () => {
    const { sandbox } = cluster
    const [guard] = await podsOf(context, options.namespace, 'app.kubernetes.io/component=node-guard')
    assert.ok(guard)
    const name = `${options.namespace}/${refOf(guard).name}`
    sandbox.pods.kill(name, 'firewall', 'SIGSTOP')
    try {
      await sandbox.exec('node', ['nft', 'delete', 'table', 'inet', 'pod2iam_guard'])
      broken(await show(refusals, /pod without a role/), /reached the metadata endpoint \d+ times/)
    } finally {
      sandbox.pods.kill(name, 'firewall', 'SIGCONT')
    }
    const table = ['nft', 'list', 'table', 'inet', 'pod2iam_guard']
    await until(context, 'the repair', async () => (await sandbox.exec('node', table)).code === 0)
    allKept(await show(refusals, /pod without a role/))
  })

  test('a sidecar that is killed breaks the promise that every request is answered', async () => {
    const counts = await clients(context)
    const { namespace, name } = refOf(await readyPod(context, 'shop', 'client'))
    const failures = async () => (await clients(context)).get(name)?.failures ?? 0
    while ((await failures()) === 0) cluster.sandbox.pods.kill(`${namespace}/${name}`, 'pod2iam-sidecar')
    await assert.rejects(expectServed(context, counts), /requests of client-\S+ failed; the last at \d{4}-/)
  })

  test(`every promise of “${uninstall.title}” is kept`, async () => {
    allKept(await showGroup(context, uninstall))
  })

  test('a rule or an object that is left over breaks the promise of an uninstall', async () => {
    await cluster.sandbox.exec('node', ['nft', 'add', 'table', 'inet', 'pod2iam_guard'])
    broken(await show(uninstall, /^nodes have/, 2), /left on \S+: table inet pod2iam_guard/)
    const metadata = { name: 'pod2iam-left' }
    await cluster.kube.create({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata,
      rules: [],
    })
    broken(await show(uninstall, /no object/, 2), /left: ClusterRole \/pod2iam-left/)
  })

  test('the stand-in does not take over an address that answers already', async () => {
    const again = {
      ...context,
      run: { ...context.run, id: 'again' },
      options: { ...options, waitSeconds: 5 },
    }
    try {
      // The stand-in of this run answers.
      const installing = installStandIn(again, { replace: false })
      await assert.rejects(installing, /169\.254\.169\.254 answers on this node already/)
    } finally {
      await cleanUp(again)
    }
  })

  test('cleaning up leaves nothing of the run', async () => {
    assert.deepEqual(await cleanUp(ground), [])
    assert.deepEqual(await runsLeft(cluster), [])
    const links = await cluster.sandbox.exec('node', ['ip', '-o', 'link'])
    assert.doesNotMatch(links.stdout, /pod2iam/)
  })
})
