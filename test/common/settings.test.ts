import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, it } from 'node:test'
import {
  duration,
  flag,
  list,
  oneOf,
  optional,
  parseSettings,
  port,
  type Setting,
  SettingError,
  text,
  whole,
} from '../../common/settings.ts'

const SPEC = {
  nodeName: text(undefined, 'name of the node'),
  stateDir: text('/run/pod2iam', 'directory'),
  kubeconfig: optional('file'),
  mode: oneOf(['enforce', 'audit'], 'enforce', 'what is done'),
  requireFirewall: flag(true, 'demands it'),
  ownedTable: flag(false, 'adds it'),
  stsQps: whole(20, [1, 100], 'calls per second'),
  healthPort: port(9172, 'port'),
  pollInterval: duration('10s', 'interval'),
  waitTimeout: duration(undefined, 'timeout'),
  metadataAddress: list(['169.254.169.254'], 'addresses'),
}

function parse(argv: readonly string[], env: Record<string, string> = { POD2IAM_NODE_NAME: 'node1' }) {
  return parseSettings(SPEC, { argv, env })
}

function settings(argv: readonly string[], env?: Record<string, string>) {
  const result = parse(argv, env)
  return result.ok ? result.settings : assert.fail(result.errors.join(' | '))
}

function errors(argv: readonly string[], env?: Record<string, string>) {
  const result = parse(argv, env)
  return result.ok ? [] : result.errors
}

describe('settings', () => {
  it('have their defaults when nothing is given', () => {
    assert.deepEqual(settings([]), {
      nodeName: 'node1',
      stateDir: '/run/pod2iam',
      kubeconfig: undefined,
      mode: 'enforce',
      requireFirewall: true,
      ownedTable: false,
      stsQps: 20,
      healthPort: 9172,
      pollInterval: 10_000,
      waitTimeout: undefined,
      metadataAddress: ['169.254.169.254'],
    })
  })

  it('are read from flags in both spellings', () => {
    const { stateDir, mode, stsQps } = settings(['--state-dir=/a', '--mode', 'audit', '--sts-qps=7'])
    assert.deepEqual({ stateDir, mode, stsQps }, { stateDir: '/a', mode: 'audit', stsQps: 7 })
  })

  it('are read from the environment, but a flag takes precedence', () => {
    const env = { POD2IAM_NODE_NAME: 'a', POD2IAM_STATE_DIR: '/env', POD2IAM_STS_QPS: '3' }
    const { nodeName, stateDir, stsQps } = settings(['--state-dir=/flag'], env)
    assert.deepEqual({ nodeName, stateDir, stsQps }, { nodeName: 'a', stateDir: '/flag', stsQps: 3 })
  })

  it('a wrong value in the environment does not matter when the flag is given', () => {
    assert.equal(settings(['--sts-qps=3'], { POD2IAM_NODE_NAME: 'a', POD2IAM_STS_QPS: 'x' }).stsQps, 3)
  })

  it('unknown variables are ignored, such as those which Kubernetes sets for Services', () => {
    assert.equal(settings([], { POD2IAM_NODE_NAME: 'a', POD2IAM_SERVICE_HOST: '10.0.0.1' }).nodeName, 'a')
  })

  for (const [argv, expected] of [
    [['--owned-table'], true],
    [['--owned-table=true'], true],
    [['--owned-table=false'], false],
  ] as const)
    it(`${argv} means ${expected}`, () => assert.equal(settings(argv).ownedTable, expected))

  it('a boolean flag does not take the next argument as its value', () => {
    const result = settings(['--owned-table', '--state-dir=/a'])
    assert.deepEqual([result.ownedTable, result.stateDir], [true, '/a'])
  })

  it('a list is read from commas and from a repeated flag', () => {
    assert.deepEqual(settings(['--metadata-address=a, b', '--metadata-address', 'c']).metadataAddress, [
      'a',
      'b',
      'c',
    ])
    assert.deepEqual(settings(['--metadata-address=,']).metadataAddress, [])
  })

  for (const [value, expected] of [
    ['500ms', 500],
    ['10s', 10_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
  ] as const)
    it(`duration ${value} is ${expected} ms`, () =>
      assert.equal(settings([`--poll-interval=${value}`]).pollInterval, expected))

  it('an optional setting given as empty text is absent', () => {
    assert.equal(settings(['--kubeconfig=']).kubeconfig, undefined)
    assert.equal(settings([], { POD2IAM_NODE_NAME: 'a', POD2IAM_KUBECONFIG: '' }).kubeconfig, undefined)
  })

  for (const [argv, says] of [
    [['--sts-qps=0'], /^--sts-qps must be a whole number from 1 to 100\.$/],
    [['--sts-qps=101'], /from 1 to 100/],
    [['--sts-qps=1.5'], /whole number/],
    [['--sts-qps=1e1'], /whole number/],
    [['--sts-qps='], /whole number/],
    [['--health-port=0'], /from 1 to 65535/],
    [['--health-port=65536'], /from 1 to 65535/],
    [['--mode=remove'], /^--mode must be one of enforce, audit, not "remove"\.$/],
    [['--require-firewall=no'], /must be true or false, not "no"/],
    [['--poll-interval=10'], /must be a duration such as 500ms, 10s, 5m or 1h/],
    [['--poll-interval=-1s'], /must be a duration/],
    [['--state-dir'], /^--state-dir needs a value\.$/],
    [['--state-dir', '--mode=audit'], /^--state-dir needs a value\.$/],
    [['--state-dir=/a', '--state-dir=/b'], /^--state-dir is given twice\.$/],
    [['--unknown=1'], /"--unknown=1" is not a setting; --help lists them/],
    [['stray'], /"stray" is not a setting/],
    [['-x'], /"-x" is not a setting/],
    [['--nodeName=x'], /is not a setting/],
    [['--__proto__=x'], /is not a setting/],
  ] as const)
    it(`${argv.join(' ')} is a mistake reported in one sentence`, () => {
      const found = errors(argv)
      assert.equal(found.length, 1, found.join(' | '))
      assert.match(found[0] ?? '', says)
    })

  it('a mistake in the environment names the variable', () => {
    const env = { POD2IAM_NODE_NAME: 'a', POD2IAM_STS_QPS: 'many' }
    assert.deepEqual(errors([], env), ['POD2IAM_STS_QPS must be a whole number from 1 to 100.'])
  })

  it('all mistakes are reported together', () => {
    const found = errors(['--sts-qps=x', '--mode=y', 'stray'], {})
    assert.equal(found.length, 4, found.join(' | '))
    assert.ok(
      found.some((line) =>
        line.startsWith('--node-name (or POD2IAM_NODE_NAME) is required: name of the node'),
      ),
    )
  })

  it('an error that is not a mistake of the user is thrown', () => {
    const broken: Setting<string> = {
      ...text('x', ''),
      parse: () => {
        throw new TypeError('bug')
      },
    }
    assert.throws(() => parseSettings({ broken }, { argv: ['--broken=1'], env: {} }), /bug/)
  })

  it('a list checks each of its entries', () => {
    const each = (entry: string) => {
      if (entry === 'bad') throw new SettingError('has a bad entry')
      return entry.toUpperCase()
    }
    const spec = { names: list([], '', each) }
    const good = parseSettings(spec, { argv: ['--names=a,b'], env: {} })
    assert.deepEqual(good.ok && good.settings.names, ['A', 'B'])
    assert.deepEqual(parseSettings(spec, { argv: ['--names=a,bad'], env: {} }), {
      ok: false,
      errors: ['--names has a bad entry.'],
    })
  })
})

describe('the command line of a process', () => {
  const program = `
    import { settingsOrExit, text, port } from '${new URL('../../common/settings.ts', import.meta.url)}'
    const settings = settingsOrExit('pod2iam test', { name: text(undefined, 'a name'), healthPort: port(1, 'a port') })
    console.log(JSON.stringify(settings))`
  const run = (argv: readonly string[], env: Record<string, string> = {}) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', program, '--', 'program', ...argv], {
      encoding: 'utf8',
      env,
    })

  it('prints every mistake on stderr and exits 2', () => {
    const { status, stdout, stderr } = run(['--health-port=x'])
    assert.deepEqual([status, stdout], [2, ''])
    assert.deepEqual(stderr.trimEnd().split('\n'), [
      'pod2iam test: --name (or POD2IAM_NAME) is required: a name.',
      'pod2iam test: --health-port must be a whole number from 1 to 65535.',
    ])
  })

  it('gives the settings when there are no mistakes', () => {
    const { status, stdout } = run(['--name=x'], { POD2IAM_HEALTH_PORT: '7' })
    assert.deepEqual([status, JSON.parse(stdout)], [0, { name: 'x', healthPort: 7 }])
  })

  it('--help lists every setting with its variable and default, and exits 0 whatever else is wrong', () => {
    const { status, stdout } = run(['--help', '--health-port=x'])
    assert.equal(status, 0)
    assert.match(stdout, /--name +a name \(POD2IAM_NAME; default: required\)/)
    assert.match(stdout, /--health-port +a port \(POD2IAM_HEALTH_PORT; default: 1\)/)
  })

  it('--version prints the version and exits 0', () => {
    const { status, stdout } = run(['--version'])
    assert.equal(status, 0)
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
  })
})
