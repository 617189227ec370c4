/** Root file systems that stand in for the bases of the Dockerfile, made of this machine's own programs. */
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
import { dirname, join } from 'node:path'
import { installed } from '../peers.ts'

const NODE = '/nodejs/bin/node'

/** On top of the runtime, a distribution with shell and tools; `npm ci` and `apt-get` only check what they are given. */
export function makeBuilder(root: string): void {
  const programs = [
    'bash',
    'sh',
    'ldd',
    'nft',
    'ip',
    'socat',
    'prlimit',
    'xtables-nft-multi',
    'xtables-legacy-multi',
  ].concat(
    ...[
      'cat',
      'cp',
      'dirname',
      'grep',
      'ln',
      'ls',
      'mkdir',
      'readlink',
      'rm',
      'sed',
      'sleep',
      'sort',
      'test',
    ],
  )
  for (const program of programs) copyProgram(root, program)
  const [extension = ''] = execFileSync('sh', ['-c', 'ls -d /usr/lib/*/xtables'], { encoding: 'utf8' }).split(
    '\n',
  )
  cpSync(extension, join(root, extension), { recursive: true, dereference: true })
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

/** Distroless: node, what it is linked to, and glibc whole, as Debian's package has it. */
export function makeRuntime(root: string): void {
  copyFile(root, realpathSync(process.execPath), NODE)
  copyLibraries(root, process.execPath)
  for (const library of globSync('/usr/lib/*-linux-gnu/lib{dl,pthread,resolv,rt}.so.?'))
    copyFile(root, library)
  mkdirSync(join(root, 'tmp'))
  // Not by mkdir, whose mode the umask narrows: any user may write there.
  chmodSync(join(root, 'tmp'), 0o1777)
}

function copyProgram(root: string, name: string): void {
  const path = installed(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  copyFile(root, realpathSync(path), `/usr/bin/${name}`)
  // A script.
  if (name !== 'ldd') copyLibraries(root, path)
}

function copyFile(root: string, from: string, to = from): void {
  linkLikeDebian(root)
  mkdirSync(dirname(join(root, to)), { recursive: true })
  copyFileSync(realpathSync(from), join(root, to))
}

/** Since Debian 12 `/lib` and its like are links. */
function linkLikeDebian(root: string): void {
  mkdirSync(join(root, 'usr/bin'), { recursive: true })
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', name), { recursive: true })
    try {
      symlinkSync(`usr/${name}`, join(root, name))
    } catch {
      // It is there already.
    }
  }
}

/** Everything the dynamic linker loads for a program, the linker included. */
function copyLibraries(root: string, program: string): void {
  const listed = execFileSync('ldd', [realpathSync(program)], { encoding: 'utf8' })
  for (const [path] of listed.matchAll(/\/\S+\.so\S*/g)) copyFile(root, path)
}

function script(root: string, name: string, body: string): void {
  const path = join(root, 'usr/bin', name)
  writeFileSync(path, `#!/bin/sh\n${body}\n`)
  chmodSync(path, 0o755)
}
