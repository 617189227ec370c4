/**
 * Root file systems that replace the base images of the Dockerfile: from Debian trixie's packages, like those, if
 * `.ci/image-programs` has unpacked them, and otherwise from this machine's own programs. Node is this machine's in both.
 */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  globSync,
  mkdirSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { imageSystem, installed } from '../peers/peers.ts'

const NODE = '/nodejs/bin/node'
/** The programs that the Dockerfile's commands run, besides those that it copies into the image. */
const SHELL = ['bash', 'sh', 'ldd'].concat(
  ...['cat', 'cp', 'dirname', 'grep', 'ln', 'ls', 'mkdir', 'readlink', 'rm', 'sed', 'sleep', 'sort', 'test'],
)
const SHIPPED = ['nft', 'ip', 'socat', 'prlimit', 'setpriv', 'xtables-nft-multi', 'xtables-legacy-multi']

/** A distribution with a shell and tools, on top of the runtime. Its `npm ci` and `apt-get` only check their arguments. */
export function makeBuilder(root: string, system = imageSystem()): void {
  if (system === undefined) copyMachine(root)
  else copySystem(system, root)
  symlinkSync(NODE, join(root, 'usr/bin/node'))
  script(
    root,
    'npm',
    'test "$1" = ci && test -f package.json && test -f package-lock.json && test -d node_modules/esbuild',
  )
  script(
    root,
    'apt-get',
    'case "$*" in update|"install -y --no-install-recommends nftables iptables iproute2 socat") ;; *) exit 1;; esac',
  )
}

/** A distroless image: node, the libraries it is linked to, and all of glibc as in Debian's package. */
export function makeRuntime(root: string, system = imageSystem()): void {
  copyFile(root, realpathSync(process.execPath), NODE)
  const linked = linkedTo(process.execPath)
  const more = globSync(`${system ?? ''}/usr/lib/*-linux-gnu/lib{dl,pthread,resolv,rt}.so.?`)
  if (system === undefined) for (const library of [...linked, ...more]) copyFile(root, library)
  else {
    const [directory = ''] = more.map((library) => dirname(library))
    const wanted = [...linked, ...more].map((library) => join(directory, basename(library)))
    for (const library of wanted) copyFile(root, library, library.slice(system.length))
    // The dynamic linker, with the name that programs use.
    for (const link of globSync(`${system}/usr/lib{,64}/ld-linux*`))
      copyFile(root, link, link.slice(system.length))
  }
  mkdirSync(join(root, 'tmp'))
  // Not by the mode of mkdir, which the umask restricts: every user may write there.
  chmodSync(join(root, 'tmp'), 0o1777)
}

/** Copies the system without documentation and configuration. */
function copySystem(system: string, root: string): void {
  linkLikeDebian(root)
  const from = globSync(`${system}/usr/{bin,sbin,lib,lib64}`)
  execFileSync('cp', ['-a', ...from, join(root, 'usr')])
}

function copyMachine(root: string): void {
  for (const program of [...SHELL, ...SHIPPED]) copyProgram(root, program)
  const [extension = ''] = execFileSync('sh', ['-c', 'ls -d /usr/lib/*/xtables'], { encoding: 'utf8' }).split(
    '\n',
  )
  cpSync(extension, join(root, extension), { recursive: true, dereference: true })
}

function copyProgram(root: string, name: string): void {
  const path = installed(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  copyFile(root, realpathSync(path), `/usr/bin/${name}`)
  // ldd is a script, which has no libraries.
  if (name !== 'ldd') for (const library of linkedTo(path)) copyFile(root, library)
}

function copyFile(root: string, from: string, to = from): void {
  linkLikeDebian(root)
  mkdirSync(dirname(join(root, to)), { recursive: true })
  copyFileSync(realpathSync(from), join(root, to))
}

/** Since Debian 12 `/lib` and similar directories are links. */
function linkLikeDebian(root: string): void {
  mkdirSync(join(root, 'usr/bin'), { recursive: true })
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', name), { recursive: true })
    try {
      symlinkSync(`usr/${name}`, join(root, name))
    } catch {
      // It exists already.
    }
  }
}

/** Everything the dynamic linker loads for a program of this machine, the linker included. */
function linkedTo(program: string): string[] {
  const listed = execFileSync('ldd', [realpathSync(program)], { encoding: 'utf8' })
  return [...listed.matchAll(/\/\S+\.so\S*/g)].map(([path]) => path)
}

function script(root: string, name: string, body: string): void {
  const path = join(root, 'usr/bin', name)
  writeFileSync(path, `#!/bin/sh\n${body}\n`)
  chmodSync(path, 0o755)
}
