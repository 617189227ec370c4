/** The rules for every workflow, so that a stolen tag or a pull request cannot become a release. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { parse } from 'yaml'

const DIRECTORY = new URL('../../.github/workflows/', import.meta.url)

type Step = {
  readonly uses?: string
  readonly run?: string
  readonly with?: Readonly<Record<string, unknown>>
}
type Job = {
  readonly steps?: readonly Step[]
  readonly permissions?: Readonly<Record<string, string>>
  readonly 'timeout-minutes'?: number
  readonly strategy?: { readonly matrix: { readonly include?: readonly Readonly<Record<string, string>>[] } }
}
type Workflow = {
  readonly on: Readonly<Record<string, unknown>>
  readonly permissions?: Readonly<Record<string, string>>
  readonly jobs: Readonly<Record<string, Job>>
}

for (const file of readdirSync(DIRECTORY)) {
  const text = readFileSync(new URL(file, DIRECTORY), 'utf8')
  const workflow: Workflow = parse(text)
  const steps = Object.values(workflow.jobs).flatMap(({ steps = [] }) => steps)

  describe(`the workflow ${file}`, () => {
    test('pins actions of others to a commit, with the release in a comment', () => {
      for (const [line] of text.matchAll(/^.*\buses: (?!\.\/).*$/gm))
        assert.match(line, /uses: [\w.-]+\/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
    })

    test('may only read by default, and is not triggered by pull_request_target', () => {
      assert.deepEqual(workflow.permissions, { contents: 'read' })
      assert.ok(!('pull_request_target' in workflow.on))
    })

    test('puts no expression into a script, and leaves no token on disk', () => {
      for (const { run = '' } of steps) assert.doesNotMatch(run, /\$\{\{/)
      for (const { uses = '', with: inputs } of steps)
        if (uses.startsWith('actions/checkout')) assert.equal(inputs?.['persist-credentials'], false)
    })

    test('has a time limit for every job', () => {
      for (const [name, job] of Object.entries(workflow.jobs))
        if (job.steps !== undefined) assert.ok(job['timeout-minutes'], name)
    })
  })
}

test('the newest and the oldest Kubernetes are built and run in the same way', () => {
  const { jobs }: Workflow = parse(readFileSync(new URL('test.yaml', DIRECTORY), 'utf8'))
  const peers = readFileSync(new URL('../../.ci/peers', import.meta.url), 'utf8')
  for (const name of ['api', 'kubernetes']) {
    const rows = jobs[name]?.strategy?.matrix.include ?? []
    assert.deepEqual(
      rows.map(({ kubernetes }) => kubernetes),
      ['newest', 'oldest'],
    )
    const [newest = [], oldest] = rows.map(({ kubernetes: _, ...programs }) => Object.values(programs))
    assert.deepEqual(
      oldest,
      newest.map((program) => `oldest_${program}`),
    )
    for (const program of [...newest, ...(oldest ?? [])])
      assert.match(peers, new RegExp(`^make ${program} `, 'm'))
  }
})
