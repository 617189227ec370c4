import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { until } from '../../support/until.ts'
import { needsNamespaces } from '../node/namespace-support.ts'
import { Aws, type AwsOptions, REAL_IMDS, trust } from './client.ts'

async function withAws(options: AwsOptions, action: (aws: Aws) => Promise<void>): Promise<void> {
  const aws = await Aws.start(options)
  try {
    await action(aws)
  } finally {
    await aws.stop()
  }
}

/** Whether a process is alive; a zombie is not. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

test('AWS is ready when it has started, and leaves nothing when it is stopped, even twice', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'aws-test-'))
  try {
    const aws = await Aws.start({ directory, sts: ['127.0.0.1:0', '[::1]:0'] })
    for (const url of aws.stsUrls) assert.equal((await fetch(url)).status, 400)
    assert.equal((await fetch(aws.imdsUrl)).status, 200)
    await aws.stop()
    await aws.stop()
    assert.equal(isAlive(aws.pid), false)
    assert.deepEqual(readdirSync(directory), [])
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('only the owner of AWS can open its control socket', async () => {
  await withAws({}, async ({ config }) => {
    assert.equal(statSync(config.controlSocket).mode & 0o077, 0)
    assert.equal(statSync(dirname(config.controlSocket)).mode & 0o077, 0)
  })
})

test('two instances of AWS run at the same time and are independent', async () => {
  await withAws({ account: '222222222222', region: 'us-east-1' }, async (one) => {
    await withAws({ region: 'cn-north-1' }, async (two) => {
      assert.equal(one.config.nodeRoleArn, 'arn:aws:iam::222222222222:role/node')
      assert.equal(two.roleArn('path/app'), 'arn:aws-cn:iam::111111111111:role/path/app')
      const text = async (aws: Aws, path: string) =>
        (await fetch(`${aws.imdsUrl}latest/meta-data/${path}`)).text()
      assert.equal(await text(one, 'local-hostname'), 'ip-10-0-0-10.ec2.internal')
      assert.equal(await text(two, 'services/domain'), 'amazonaws.com.cn')
      assert.equal((await one.imdsRequests()).length, 1)
    })
  })
})

test('AWS ends with its parent, even if that is killed by SIGKILL', async () => {
  const client = JSON.stringify(new URL('client.ts', import.meta.url).href)
  const script = `const { Aws } = await import(${client}); const aws = await Aws.start(); console.log(JSON.stringify([aws.pid, aws.config.controlSocket])); setInterval(() => {}, 1e6)`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    let printed = ''
    for await (const chunk of parent.stdout) {
      printed += chunk
      if (printed.includes('\n')) break
    }
    const [pid, socket]: [number, string] = JSON.parse(printed)
    assert.equal(isAlive(pid), true)
    parent.kill('SIGKILL')
    await until(`process ${pid} outlived its parent`, () => !isAlive(pid))
    assert.equal(existsSync(dirname(socket)), false)
  } finally {
    parent.kill('SIGKILL')
  }
})

const wrong: [string, AwsOptions, RegExp][] = [
  ['an address that is not host:port', { imds: ['127.0.0.1:1x'] }, /"127\.0\.0\.1:1x" is not host:port/],
  ['an invalid account', { account: '1' }, /account "1" is not twelve digits/],
  [
    'a spawn without pipes',
    { spawn: ([program = '', ...args]) => spawn(program, args, { stdio: 'ignore' }) },
    /must be pipes/,
  ],
  [
    'a program that does not exist',
    { spawn: () => spawn('/nonexistent', { stdio: 'pipe' }) },
    /cannot be started .*ENOENT/,
  ],
  ['a directory whose path is too long', { directory: mkdtempTooDeep() }, /too long for a socket/],
]

for (const [name, options, message] of wrong)
  test(`AWS does not start with ${name}, and says why`, async () => {
    await assert.rejects(Aws.start(options), message)
    if (options.directory) assert.deepEqual(readdirSync(options.directory), [])
  })

function mkdtempTooDeep(): string {
  const directory = mkdtempSync(join(tmpdir(), `aws-${'x'.repeat(100)}-`))
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
  return directory
}

test('an address that is already in use is named in the error', async () => {
  await withAws({}, async (first) => {
    const { host } = new URL(first.stsUrl)
    await assert.rejects(Aws.start({ sts: [host] }), new RegExp(`cannot listen on ${host}: .*EADDRINUSE`))
  })
})

test('a policy that IAM would refuse is an error for the test that wrote it', async () => {
  await withAws({}, async (aws) => {
    await assert.rejects(
      aws.putRole({ arn: 'app', trustPolicy: trust({ principal: 'node' }) }),
      /AWS refused putRole: Invalid principal in policy: "AWS":"node"/,
    )
    await assert.rejects(
      aws.putRole({ arn: 'bad name', trustPolicy: trust({ principal: '*' }) }),
      /not a role ARN/,
    )
  })
})

test(
  'in a network namespace of its own AWS serves at the real addresses and is controlled from outside',
  needsNamespaces('root'),
  async () => {
    const setUp =
      'ip link set lo up && ip addr add 169.254.169.254/32 dev lo && ip addr add fd00:ec2::254/128 dev lo && ip addr add 10.0.0.2/32 dev lo && exec "$@"'
    const enter = (argv: readonly string[]): ChildProcess =>
      spawn('unshare', ['--net', 'sh', '-c', setUp, 'sh', ...argv], { stdio: 'pipe' })
    await withAws({ spawn: enter, imds: REAL_IMDS, sts: ['10.0.0.2:8443'] }, async (aws) => {
      assert.deepEqual(aws.imdsUrls, ['http://169.254.169.254:80', 'http://[fd00:ec2::254]:80'])
      const inside = (url: string) => {
        const code = `process.stdout.write(await (await fetch(${JSON.stringify(url)})).text())`
        const argv = [`--net=/proc/${aws.pid}/ns/net`, process.execPath, '--input-type=module', '-e', code]
        return execFileSync('nsenter', argv, { encoding: 'utf8', timeout: 60_000 })
      }
      for (const base of aws.imdsUrls)
        assert.equal(inside(`${base}/latest/meta-data/placement/region`), 'eu-west-1')
      assert.match(inside(aws.stsUrl), /MissingAction/)
      const peers = (await aws.imdsRequests()).map(({ local }) => local)
      assert.deepEqual(peers, ['169.254.169.254', 'fd00:ec2::254'])
    })
  },
)

test('the settings and the socket of AWS are removed even if it was killed', async () => {
  const aws = await Aws.start()
  process.kill(aws.pid, 'SIGKILL')
  await until('the killed process is still there', () => !isAlive(aws.pid))
  await assert.rejects(aws.counts(), /ECONNREFUSED|ENOENT|ECONNRESET|socket hang up/)
  await aws.stop()
  assert.equal(existsSync(dirname(aws.config.controlSocket)), false)
})
