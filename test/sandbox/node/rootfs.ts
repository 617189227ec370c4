/**
 * The root file system of a container, without images: a small tree of its own with the machine's `/usr` and the
 * given directories bound into it read-only. Nothing else of the machine is visible.
 */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { StartError } from './errors.ts'
import { type Machine, SANDBOX_DIR } from './machine.ts'
import { makeDirectory } from './make-directory.ts'

export type Mount = {
  /** A path in the machine, or the type of a new file system. */
  readonly source: string
  /** The path in the container. */
  readonly target: string
  readonly readOnly: boolean
}

/** The device files that all containers share; created by {@link deviceScript}. */
const DEVICES_DIR = `${SANDBOX_DIR}/dev`

/** The path of a container's termination message by default. */
export const TERMINATION_LOG = '/dev/termination-log'

const TOP = ['usr', 'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']
/** Read by the dynamic linker, TLS clients and the alternatives system; bound read-only if they exist. */
const ETC_BOUND = [
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'alternatives',
  'ssl/certs',
  'pki',
  'iproute2',
]
const ETC_COPIED = ['passwd', 'group', 'protocols', 'services', 'os-release']
const DIRECTORIES = [
  'dev',
  'proc',
  'sys',
  'run',
  'etc',
  'home',
  'mnt',
  'opt',
  'srv',
  'var/log',
  'var/lib',
  'var/cache',
]

/** Runs once in the machine: creates device files, which even root in a user namespace may bind but not create. */
export function deviceScript(): string {
  return `mkdir -p ${DEVICES_DIR}/shm && cd ${DEVICES_DIR} && : >termination-log
for f in null zero full random urandom tty; do : >$f; mount -n --bind /dev/$f $f; done
ln -s /proc/self/fd fd; ln -s /proc/self/fd/0 stdin; ln -s /proc/self/fd/1 stdout; ln -s /proc/self/fd/2 stderr`
}

/**
 * Creates the tree of one container.
 *
 * @param root directory in the machine, which does not exist yet
 * @param shm its /dev/shm, in the machine
 * @param paths directories of the machine that are visible in it at the same path, read-only
 * @param etc files of `/etc` by name
 * @returns the mounts that complete it
 */
export function makeRoot(
  machine: Machine,
  root: string,
  shm: string,
  paths: readonly string[],
  etc: Readonly<Record<string, string>>,
): Mount[] {
  const at = (path: string) => machine.path(`${root}/${path}`)
  for (const directory of DIRECTORIES) makeDirectory(at(directory))
  mkdirSync(at('root'), { mode: 0o700 })
  for (const shared of ['tmp', 'var/tmp']) {
    makeDirectory(at(shared))
    chmodSync(at(shared), 0o1777)
  }
  // Relative, because an absolute one would lead this process out of the tree.
  symlinkSync('../run', at('var/run'))
  const mounts: Mount[] = [
    { source: DEVICES_DIR, target: '/dev', readOnly: true },
    { source: shm, target: '/dev/shm', readOnly: false },
  ]
  for (const name of TOP) {
    const link = linkTarget(`/${name}`)
    if (link !== undefined) symlinkSync(link, at(name))
    else if (existsSync(`/${name}`)) mounts.push(bindSame(at, `/${name}`))
  }
  for (const name of ETC_BOUND) if (existsSync(`/etc/${name}`)) mounts.push(bindSame(at, `/etc/${name}`))
  for (const [name, text] of Object.entries({ ...copiedEtc(), ...etc }))
    writeFileSync(at(`etc/${name}`), text)
  for (const path of paths) mounts.push(bindSame(at, path))
  return mounts
}

/**
 * Creates the mount point of a volume.
 *
 * @param inner the mounts that are decided already: the point may be in one of them
 */
export function makeMountPoint(
  machine: Machine,
  root: string,
  target: string,
  file: boolean,
  inner: readonly Mount[],
): void {
  const holder = [...inner].reverse().find((mount) => target.startsWith(`${mount.target}/`))
  const inside =
    holder === undefined ? `${root}${target}` : holder.source + target.slice(holder.target.length)
  const outside = machine.path(inside)
  if (existsSync(outside)) return
  if (holder !== undefined && !holder.source.startsWith(SANDBOX_DIR))
    throw new StartError('RunContainerError', `cannot make the mount point ${target} in ${holder.source}`)
  makeDirectory(file ? dirname(outside) : outside)
  if (file) writeFileSync(outside, '')
}

/** The mounts as fstab(5), for one call of mount(8). Bind mounts are recursive, because the machine's mounts may have locked ones below. */
export function fstab(root: string, mounts: readonly Mount[]): string {
  const special = [
    `proc ${fstabField(root)}/proc proc nosuid,nodev,noexec 0 0`,
    `sysfs ${fstabField(root)}/sys sysfs ro,nosuid,nodev,noexec 0 0`,
  ]
  const bound = mounts.map(
    ({ source, target, readOnly }) =>
      `${fstabField(source)} ${fstabField(root + target)} none rbind${readOnly ? ',ro' : ''} 0 0`,
  )
  const itself = `${fstabField(root)} ${fstabField(root)} none bind 0 0`
  return `${[itself, ...special, ...bound].join('\n')}\n`
}

function bindSame(at: (path: string) => string, path: string): Mount {
  if (lstatSync(path).isDirectory()) makeDirectory(at(path))
  else {
    makeDirectory(dirname(at(path)))
    writeFileSync(at(path), '')
  }
  return { source: path, target: path, readOnly: true }
}

function linkTarget(path: string): string | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : undefined
}

let copied: Record<string, string> | undefined

function copiedEtc(): Readonly<Record<string, string>> {
  copied ??= Object.fromEntries(
    ETC_COPIED.filter((name) => existsSync(`/etc/${name}`)).map((name) => [
      name,
      readFileSync(`/etc/${name}`, 'utf8'),
    ]),
  )
  // Without a resolver, an unknown name fails at once instead of after a timeout.
  return { ...copied, 'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\n' }
}

function fstabField(path: string): string {
  return path.replace(/[ \t\n\\]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`)
}
