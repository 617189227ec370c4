/**
 * Programs of others that use the built sidecar, each in its own network namespace, in every mode of the metadata service: the
 * results must be those in docs/clients.md. `UPDATE_GOLDEN=1` writes them there.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { needsPeer } from '../peers/peers.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { credentialsBody, METADATA, openWorkshop, type Workshop } from '../sidecar/support/index.ts'
import type { Seen } from './inside.ts'
import { MODES, type ModeName, STAND_IN } from './modes.ts'
import { type Expected, type Outcome, outcomeOf, proxyCells } from './outcome.ts'
import { PROGRAMS, type Program } from './programs.ts'
import { type Row, readTable, writeTable } from './table.ts'

const needs = { ...needsPeer('nft'), ...needsPeer('unshare'), ...needsNamespaces('root') }
const IS_UPDATE = process.env.UPDATE_GOLDEN === '1'
const NAMES = Object.keys(MODES) as ModeName[]
const TRIES = 3
const EXPECTED: Expected = {
  accessKeyId: credentialsBody().AccessKeyId,
  'host.id': METADATA['instance-id'],
}

type All = Record<ModeName, { outcome: Outcome; proxied: boolean; output: string }>

describe('clients of the metadata service', needs, () => {
  const documented = readTable()
  const rows = new Map<string, Row>()
  let workshop: Workshop

  before(async () => {
    workshop = await openWorkshop()
  })
  after(() => {
    workshop?.remove()
    // The rows of clients that are not installed here are unchanged.
    if (IS_UPDATE)
      writeTable(
        new Map(Object.keys(PROGRAMS).map((name) => [name, rows.get(name) ?? documented.get(name) ?? []])),
      )
  })

  for (const [name, program] of Object.entries(PROGRAMS))
    test(`${name} behaves as docs/clients.md says`, program.needs, async () => {
      const all = {} as All
      let row: Row = []
      for (let tried = 0; tried < TRIES; tried++) {
        Object.assign(
          all,
          await run(
            program,
            NAMES.filter((mode) => isDoubtful(all[mode], mode)),
          ),
        )
        row = rowOf(program, all)
        if (!IS_UPDATE && String(row) === String(documented.get(name))) break
      }
      rows.set(name, row)
      if (!IS_UPDATE) assert.deepEqual(row, documented.get(name), JSON.stringify(all, undefined, 1))
    })

  /** Whether a busy machine may have caused the result: clients give up, or fall back to IMDSv1, when an answer takes a second. */
  const isDoubtful = (last: All[ModeName] | undefined, mode: ModeName) =>
    last === undefined || last.outcome !== (mode === 'v1' || mode === 'container' ? mode : 'v2')

  async function run({ argv, env, proof }: Program, modes: readonly ModeName[]): Promise<Partial<All>> {
    const { directory, bundle, tokenFile } = workshop
    const given = JSON.stringify({ argv, env: { ...clientEnv(directory), ...env }, modes })
    const script = join(import.meta.dirname, 'inside.ts')
    const inside = [process.execPath, script, directory, bundle, tokenFile, given]
    const { stdout } = await promisify(execFile)('unshare', ['--net', '--mount', ...inside], {
      timeout: 900_000,
    })
    const seen: Record<string, Seen> = JSON.parse(stdout)
    const judged = Object.entries(seen).map(([mode, one]) => [
      mode,
      { outcome: outcomeOf(one, proof, EXPECTED), proxied: one.proxied, output: one.output },
    ])
    return Object.fromEntries(judged)
  }

  test('the table in docs/clients.md has exactly one row for each client', () => {
    if (!IS_UPDATE) assert.deepEqual([...documented.keys()], Object.keys(PROGRAMS))
  })
})

function rowOf({ version, from }: Program, all: All): Row {
  const { v1, optional, required, ipv6, env, container } = all
  const number = /\d+(?:\.\d+)+/.exec(version())?.[0] ?? assert.fail(`no version in ${version()}`)
  const outcomes = [v1, optional, required, ipv6, env, container].map(({ outcome }) => outcome)
  return [number, ...outcomes, ...proxyCells(all), from]
}

/** The environment of every pod that uses an SDK. */
function clientEnv(home: string): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '',
    HOME: home,
    AWS_REGION: 'eu-west-1',
    AWS_DEFAULT_REGION: 'eu-west-1',
    AWS_ENDPOINT_URL_STS: STAND_IN,
  }
}
