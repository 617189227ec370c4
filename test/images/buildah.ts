/**
 * Builds the Dockerfile with buildah, without a daemon and without a registry. The base images are stand-ins made of this
 * machine's own programs, with the names that the Dockerfile uses.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { globSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { needsPeer, peer } from '../peers/peers.ts'
import { eventually, Hopeless } from '../support/until.ts'
import { makeBuilder, makeRuntime } from './stand-ins.ts'

/** The limit for a run that hangs. A run of buildah alone takes a second of CPU time. */
const RUN_MS = 600_000

const PROJECT = fileURLToPath(new URL('../..', import.meta.url))
const TARGETS = ['sidecar', 'injector', 'node-guard'] as const
export type Target = (typeof TARGETS)[number]

/** Why images cannot be built here, as options for `test()`. */
export function needsBuildah(): { skip?: string } {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return { skip: 'images are built by root on Linux only' }
  for (const command of [
    'buildah',
    'nft',
    'xtables-nft-multi',
    'xtables-legacy-multi',
    'ip',
    'socat',
    'prlimit',
    'setpriv',
    'curl',
  ])
    if (peer(command) === undefined) return needsPeer(command)
  return {}
}

type ImageConfig = {
  readonly Entrypoint: readonly string[]
  readonly User: string
  readonly Labels: Readonly<Record<string, string>>
}

export type Builder = {
  readonly config: (target: Target) => ImageConfig
  /** Runs a command of an image and waits for its end. */
  readonly run: (
    target: Target,
    argv: readonly string[],
    options?: RunOptions,
  ) => { readonly code: number | null; readonly stdout: string; readonly output: string }
  /** Starts a command that serves. */
  readonly serve: (target: Target, argv: readonly string[], options?: RunOptions) => Server
  /** Builds another image from the files in a directory only. */
  readonly add: (name: string, root: string, entrypoint: readonly string[]) => void
  /** Writes an image into a new directory: `manifest.json`, and every blob under its digest in hexadecimal, as it is. */
  readonly export: (name: string, directory: string) => void
  readonly remove: () => void
}

type RunOptions = {
  /** `uid:gid`, by default that of the image. */
  readonly user?: string
  readonly env?: Readonly<Record<string, string>>
  /** Files of the host, mounted read-only: `host:container`. */
  readonly volumes?: readonly string[]
}

export type Server = {
  /** Gives body and status once the server answers. Throws with its output if it has ended or does not answer in time. */
  readonly ask: (url: string) => Promise<string>
  /** Runs a command of this machine in its network namespace. */
  readonly beside: (argv: readonly string[]) => string
  /** Runs a command of the image in its container; returns what it printed, whatever its exit code. */
  readonly within: (argv: readonly string[]) => string
  readonly stop: () => Promise<void>
}

/**
 * Every run of buildah has its own mounts and processes, so that none is left, however it ends. Programs in containers also
 * have their own network and, as in a pod's sandbox, an empty /dev/shm.
 */
const APART = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'] as const
const OWN_SANDBOX = [
  ...[
    '--net',
    '--',
    'sh',
    '-c',
    'ip link set lo up && mount -t tmpfs -o mode=1777 none /dev/shm && exec "$@"',
    'sh',
  ],
] as const

/** Builds all three images, which takes about 20 s. */
export function buildImages(): Builder {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-images-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  const storage = ['buildah', '--root', join(directory, 'root'), '--runroot', join(directory, 'run')]
  const env = { ...process.env, BUILDAH_ISOLATION: 'chroot', STORAGE_DRIVER: 'overlay', TMPDIR: directory }
  const buildah = (...args: readonly string[]) => {
    const argv = [...APART, '--', ...storage, ...args]
    const { status, stdout, stderr } = spawnSync('unshare', argv, { encoding: 'utf8', env })
    if (status !== 0) throw new Error(`buildah ${args.join(' ')} failed:\n${stdout}${stderr}`)
    return stdout.trim()
  }
  const newContainer = (target: Target) => buildah('from', '--pull-never', `localhost/pod2iam/${target}`)
  const containers = new Map<Target, string>()
  const containerOf = (target: Target) => {
    const container = containers.get(target) ?? newContainer(target)
    containers.set(target, container)
    return container
  }
  const inContainer = (container: string, argv: readonly string[], options: RunOptions = {}) => {
    const { user, env: variables = {}, volumes = [] } = options
    return [
      ...[
        ...APART,
        ...OWN_SANDBOX,
        ...storage,
        'run',
        '--cap-add',
        'CAP_NET_ADMIN',
        '--cap-add',
        'CAP_NET_RAW',
      ],
      ...(user === undefined ? [] : ['--user', user]),
      ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      ...volumes.flatMap((volume) => ['--volume', `${volume}:ro`]),
      ...[container, '--', ...argv],
    ]
  }
  try {
    makeBase(buildah, { name: 'runtime', from: 'scratch', root: join(directory, 'runtime') }, makeRuntime)
    makeBase(
      buildah,
      { name: 'builder', from: 'localhost/runtime', root: join(directory, 'builder') },
      makeBuilder,
    )
    for (const target of TARGETS) build(buildah, target)
  } catch (error) {
    remove()
    throw error
  }
  return {
    config: (target) =>
      JSON.parse(buildah('inspect', '--type', 'image', `localhost/pod2iam/${target}`)).OCIv1.config,
    run(target, argv, options) {
      const command = inContainer(containerOf(target), argv, options)
      const { error, status, stdout, stderr } = spawnSync('unshare', command, {
        encoding: 'utf8',
        env,
        timeout: RUN_MS,
        killSignal: 'SIGKILL',
      })
      const why = error === undefined ? '' : `${error.message}\n`
      return { code: status, stdout, output: why + stdout + stderr }
    },
    serve: (target, argv, options) =>
      server(
        spawn('unshare', inContainer(newContainer(target), argv, options), {
          env,
          stdio: ['ignore', 'pipe', 'pipe'],
        }),
      ),
    add(name, root, entrypoint) {
      const container = buildah('from', '--pull-never', 'scratch')
      buildah('copy', '--quiet', container, root, '/')
      buildah('config', '--entrypoint', JSON.stringify(entrypoint), container)
      buildah('commit', '--quiet', '--disable-compression', '--rm', container, `localhost/${name}`)
    },
    export(name, directory) {
      buildah('push', '--quiet', '--format', 'oci', `localhost/${name}`, `dir:${directory}`)
    },
    remove,
  }
}

type Buildah = (...args: readonly string[]) => string

/** An image of `root`, on top of another. */
function makeBase(
  buildah: Buildah,
  { name, from, root }: { readonly name: string; readonly from: string; readonly root: string },
  fill: (root: string) => void,
): void {
  fill(root)
  const container = buildah('from', '--pull-never', from)
  buildah('copy', '--quiet', container, root, '/')
  buildah('commit', '--quiet', '--disable-compression', '--rm', container, `localhost/${name}`)
  rmSync(root, { recursive: true })
}

function build(buildah: Buildah, target: Target): void {
  const base = (name: string, image: string) => ['--build-arg', `${name}=localhost/${image}`]
  buildah(
    ...[
      'bud',
      '--pull-never',
      '--layers',
      '--quiet',
      '--target',
      target,
      '--tag',
      `localhost/pod2iam/${target}`,
    ],
    ...base('BUILD_IMAGE', 'builder'),
    ...base('TOOLS_IMAGE', 'builder'),
    ...base('RUNTIME_IMAGE', 'runtime'),
    ...['--build-arg', 'VERSION=1.2.3', '--build-arg', 'REVISION=abc'],
    // The packages that `npm ci` would have installed.
    ...['--volume', `${PROJECT}node_modules:/src/node_modules:ro`, PROJECT],
  )
}

function server(child: ChildProcess): Server {
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
  const beside = (argv: readonly string[]) =>
    execFileSync('nsenter', [`--net=/proc/${child.pid}/ns/net`, '--', ...argv], { encoding: 'utf8' })
  return {
    beside,
    within(argv) {
      const pid = runsNode(child.pid)
      const where = ['--target', String(pid), '--net', '--mount', '--pid', '--root']
      return spawnSync('nsenter', [...where, '--', ...argv], { encoding: 'utf8', timeout: RUN_MS }).stdout
    },
    ask(url) {
      const answer = () => {
        if (child.exitCode !== null) throw new Hopeless(`no answer from ${url}: ${output}`)
        return beside(['curl', '-s', '--max-time', '2', '-w', ' %{http_code}', url])
      }
      return eventually(`an answer from ${url}`, answer, {
        deadlineMs: RUN_MS,
        pollMs: 100,
        detail: () => output,
      })
    },
    async stop() {
      if (child.exitCode !== null) return
      const ended = once(child, 'close')
      // Kills buildah, the first process of its namespace, because `unshare` waits for it; nothing would wait for `unshare`.
      kill(childrenOf(child.pid))
      await ended
    },
  }
}

/** The process that runs the image's Node, below the one that started its container. */
function runsNode(pid: number | undefined): number | undefined {
  const found = childrenOf(pid).find((child) => programOf(child)?.endsWith('/nodejs/bin/node'))
  return (
    found ??
    childrenOf(pid)
      .map(runsNode)
      .find((below) => below !== undefined)
  )
}

function programOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`)
  } catch {
    return undefined
  }
}

/** The children of all its threads; none if it has ended. */
function childrenOf(pid: number | undefined): number[] {
  const lists = globSync(`/proc/${pid}/task/*/children`).map((file) => {
    try {
      return readFileSync(file, 'utf8')
    } catch {
      return ''
    }
  })
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number))
}

function kill(pids: readonly number[]): void {
  for (const pid of pids)
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // The process has just ended.
    }
}
