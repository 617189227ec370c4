/**
 * runc for nodes whose cgroup v2 has no controllers, because the machine uses them in v1: removes the limits, which could not be set there.
 * Devices stay limited, because a BPF program of the kernel does that, not a controller.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const argv = process.argv.slice(2)
const [, bundle] = argv.slice(argv.indexOf('--bundle'))
if (argv.includes('create') && bundle !== undefined) {
  const file = join(bundle, 'config.json')
  const config = JSON.parse(readFileSync(file, 'utf8'))
  const { devices } = config.linux?.resources ?? {}
  if (config.linux !== undefined) config.linux.resources = { devices }
  writeFileSync(file, JSON.stringify(config))
}
const { status } = spawnSync('runc', argv, { stdio: 'inherit' })
process.exit(status ?? 1)
