/** The part of systemd that the nodes have: it installs the units that `firewall boot-rules` prints, and starts them as they require. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { UNIT, unitFile } from '../../node-guard/firewall/boot/files.ts'

const SYSTEMCTL = fileURLToPath(new URL('systemd/systemctl', import.meta.url))
let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pod2iam-systemctl-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

const env = () => ({ ...process.env, UNITS: directory, ACTIVE: join(directory, 'active') })
const systemctl = (...words: string[]) =>
  execFileSync(SYSTEMCTL, words, { env: env(), encoding: 'utf8', stdio: 'pipe' })
const refusedBoot = () => spawnSync(SYSTEMCTL, ['boot'], { env: env(), encoding: 'utf8' })
/** The printed unit, with commands that write a file instead. */
const install = (change: (text: string) => string = (text) => text) => {
  const text = unitFile('nft').replace(
    /^Exec(\w+)=.*$/gm,
    (_, what: string) => `Exec${what}=touch ${join(directory, `ran-${what}`)}`,
  )
  writeFileSync(join(directory, UNIT), change(text))
}
const ran = (what: 'Start' | 'Reload') => existsSync(join(directory, `ran-${what}`))

test('a unit is started at boot only while it is enabled', () => {
  install()
  systemctl('boot')
  assert.equal(ran('Start'), false)
  systemctl('enable', UNIT)
  systemctl('boot')
  assert.equal(ran('Start'), true)
  rmSync(join(directory, 'ran-Start'))
  systemctl('disable', UNIT)
  systemctl('boot')
  assert.equal(ran('Start'), false)
})

test('reload-or-restart reloads an active unit, and starts another one', () => {
  install()
  systemctl('reload-or-restart', UNIT)
  assert.deepEqual([ran('Start'), ran('Reload')], [true, false])
  systemctl('reload-or-restart', UNIT)
  assert.deepEqual([ran('Start'), ran('Reload')], [true, true])
})

for (const other of ['network-pre.target', 'containerd.service', 'kubelet.service'])
  test(`a unit that is not ordered before ${other} makes the boot fail`, () => {
    install((text) =>
      text.replace(/^Before=.*$/m, (line) => line.replace(` ${other}`, '').replace(`=${other}`, '=')),
    )
    systemctl('enable', UNIT)
    const { status, stderr } = refusedBoot()
    assert.equal(status, 1)
    assert.match(stderr, new RegExp(`not before ${other}`))
    assert.equal(ran('Start'), false)
  })

test('a unit that fails makes the boot fail, because the kubelet requires it', () => {
  install((text) => text.replace(/^ExecStart=.*/m, 'ExecStart=false'))
  systemctl('enable', UNIT)
  assert.equal(refusedBoot().status, 1)
})

test('any other command is an error', () => {
  assert.throws(() => systemctl('start', UNIT), /not known here/)
})
