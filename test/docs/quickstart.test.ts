/** The commands of docs/install.md, run unchanged: from nothing to a pod with credentials, and to pods that are refused. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { needsPeer, peer } from '../peers/peers.ts'
import { type Cluster, createCluster, localPath } from '../sandbox/cluster.ts'
import { type KubeObject, needsNamespaces, type Pod } from '../sandbox/index.ts'
import { codeSpans, page, rowsUnder } from './markdown.ts'
import { type Answer, type Call, ok, type StandIn, type StandIns, startStandIns } from './stand-ins.ts'

const BASE = 'arn:aws:iam::111111111111:role/pods/'
const IMAGE = 'curlimages/curl:8.16.0'
/** The values of the page, with which the cluster is created. */
const VALUES = { policy: { baseRoleArn: BASE }, sidecar: { imdsTokens: 'required' } }

const steps = page('docs/install.md').blocks.filter(({ tag }) => tag === 'quickstart')
const needs = peer('kubectl') === undefined ? needsPeer('kubectl') : needsNamespaces()

describe('docs/install.md', needs, () => {
  let cluster: Cluster
  let standIns: StandIns
  let env: Record<string, string>
  /** The variables of earlier blocks, which the shell of a block needs. */
  let variables = ''

  before(async () => {
    cluster = await createCluster({
      aws: { nodeRoleArn: 'arn:aws:iam::111111111111:role/my-node-role' },
      images: { [IMAGE]: { command: ['sleep', 'infinity'] } },
      injectorArgs: [`--base-role-arn=${BASE}`, '--imds-tokens=required'],
      brokerArgs: [`--base-role-arn=${BASE}`],
    })
    // At first, the node role may assume any role that trusts it; here the policy of the page must allow it.
    await cluster.aws.setNodePolicy([])
    standIns = await startStandIns({ aws, helm, kubectl })
    const kubeconfig = join(standIns.directory, 'kubeconfig')
    writeFileSync(kubeconfig, readFileSync(await cluster.api.kubeconfig()), { mode: 0o600 })
    env = { PATH: standIns.path, HOME: standIns.directory, KUBECONFIG: kubeconfig }
  })
  after(async () => {
    await standIns?.close()
    await cluster?.close()
  })

  /** The three calls of IAM that the page needs. */
  const aws: StandIn = async ({ args, cwd }: Call) => {
    const option = (name: string) => args[args.indexOf(name) + 1] ?? ''
    const document = (name: string) =>
      JSON.parse(readFileSync(join(cwd, option(name).replace('file://', '')), 'utf8'))
    if (args[1] === 'put-role-policy') {
      assert.equal(option('--role-name'), 'my-node-role')
      await cluster.aws.setNodePolicy(document('--policy-document').Statement)
    } else if (args[1] === 'create-role') {
      const arn = `arn:aws:iam::111111111111:role${option('--path')}${option('--role-name')}`
      await cluster.aws.putRole({ arn, trustPolicy: document('--assume-role-policy-document') })
    } else assert.equal(args[1], 'attach-role-policy')
    return ok()
  }

  /** The chart is installed already; test/docs/helm.test.ts renders the command. */
  const helm: StandIn = ({ args, cwd }) => {
    const file = args[args.indexOf('--values') + 1] ?? ''
    assert.deepEqual(parse(readFileSync(join(cwd, file), 'utf8')), VALUES)
    return ok()
  }

  /** Uses kubectl itself, except for exec, which the sandbox's API server does not have. */
  const kubectl: StandIn = ({ args }): Promise<Answer> | undefined => {
    const [flag, namespace = '', verb, target = ''] = args
    if (verb !== 'exec') return undefined
    assert.equal(flag, '-n')
    const container = args[args.indexOf('-c') + 1]
    const argv = args.slice(args.indexOf('--') + 1).map(localPath)
    return execIn(namespace, target, argv, args.includes('-c') ? container : undefined)
  }

  const execIn = async (
    namespace: string,
    target: string,
    argv: readonly string[],
    container?: string,
  ): Promise<Answer> => {
    const [kind, name] = target.includes('/') ? target.split('/') : ['pod', target]
    const { items } = await cluster.kube.list('pods', { namespace })
    const found = items.find(({ metadata }) =>
      kind === 'deploy' ? metadata.name?.startsWith(`${name}-`) : metadata.name === name,
    )
    const options = container === undefined ? {} : { container }
    return cluster.pods.exec(`${namespace}/${found?.metadata.name}`, argv, options)
  }

  /** Runs a block on the node, from which the API server can be reached. */
  const run = async (script: string) => {
    const whole = `cd '${standIns.directory}'\n${variables}\n${script}`
    const { code, stdout, stderr } = await cluster.exec('node', ['bash', '-euo', 'pipefail', '-c', whole], {
      env,
      timeout: 180_000,
    })
    assert.equal(code, 0, `${script}\n${stdout}${stderr}`)
    return { stdout, stderr }
  }

  test('works with all of its commands', async () => {
    const printed: string[] = []
    for (const { text } of steps) {
      if (/^[A-Z_]+=/.test(text)) variables = text
      const { stdout, stderr } = await run(text)
      printed.push(stdout + stderr)
    }
    const all = printed.join('')
    assert.match(all, /deployment "pod2iam-injector" successfully rolled out/)
    assert.match(all, /deployment "nightly" successfully rolled out/)
    assert.match(all, /role: reports-reader\n\{\n {2}"Code" : "Success",/)
    assert.match(all, /curl: \(7\).*\nrefused, as it should be/)
    assert.match(
      all,
      /denied the request: pod2iam: namespace reports may not use role "arn:aws:iam::111111111111:role\/pods\/admin"/,
    )
    assert.equal(all.match(/refused, as it should be/g)?.length, 2)
  })

  test('leads to a pod with a session of its role at AWS', async () => {
    const [session] = await cluster.aws.sessions({ by: 'assume-role' })
    assert.equal(session?.role, `${BASE}reports-reader`)
    assert.match(session?.session ?? '', /^reports\.nightly-/)
  })

  test('starts processes all of whose metrics are in docs/metrics.md', async () => {
    const { items } = await cluster.kube.list<KubeObject & Pod>('pods')
    const addressOf = (start: string) =>
      items.find(({ metadata }) => `${metadata.namespace}/${metadata.name}`.startsWith(start))?.status?.podIP
    const places = [
      ['Firewall', '127.0.0.1:9173'],
      ['Broker', '127.0.0.1:9172'],
      ['Injector', `${addressOf('pod2iam-system/pod2iam-injector')}:8080`],
      ['Sidecar', `${addressOf('reports/nightly-')}:9170`],
    ] as const
    for (const [title, place] of places) {
      const { stdout } = await cluster.exec('node', ['curl', '-s', '-m', '5', `http://${place}/metrics`])
      const printed = [...stdout.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name)
      assert.ok(printed.length > 5, `${title}: ${stdout}`)
      const documented = new Set(
        rowsUnder(page('docs/metrics.md'), title).flatMap(([name = '']) => codeSpans(name)),
      )
      assert.deepEqual(
        printed.filter((name) => !documented.has(name) && !/^pod2iam_(?:process|nodejs)_/.test(name)),
        [],
      )
    }
  })
})
