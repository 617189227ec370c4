/**
 * A rolling upgrade from the previous release and its rollback: its own injector beside this one. This needs a checkout of it:
 *
 *   git worktree add --detach ../previous v0.1.0 && ln -s "$PWD/node_modules" ../previous/
 *   POD2IAM_PREVIOUS=$PWD/../previous node --test test/injector/previous-release.test.ts
 *
 * What can be tested without a checkout is in `previous-form.test.ts`.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import {
  type Admissions,
  admissions,
  CANDIDATES,
  type Candidate,
  candidate,
  SHOP_NAMESPACE,
  tampered,
} from './admissions.ts'
import { ROLE } from './fixtures.ts'
import { CHANGES, OTHER_KEY } from './injected-settings.ts'
import { type Release, type Replica, type Rollout, rollout } from './replicas.ts'

const checkout = process.env.POD2IAM_PREVIOUS
const skip =
  checkout === undefined &&
  'POD2IAM_PREVIOUS names no checkout of the previous release; see the head of this file'
const EACH = 20
const FIRST = candidate('a pod with the old key', { [KEYS.role]: ROLE })
const BOTH = candidate('a pod with both keys', { [KEYS.role]: ROLE, [OTHER_KEY]: ROLE })
/** The previous release had no such settings. */
const NEW_SETTINGS = ['tokenExpirationSeconds', 'containerCredentials', 'start', 'redirect and start']

describe('an upgrade from the previous release and its rollback', { skip }, () => {
  let cluster: Rollout
  let clients: Admissions
  let serving: Replica
  let all: readonly Candidate[]
  let total = 0
  /** Reviews that ending replicas of the previous release left unanswered, which only that release could have fixed (docs/operations.md). */
  let hungUp = 0
  const previous = (): Release => ({
    main: join(checkout ?? '', 'injector/main.ts'),
    rendered: readFileSync(join(checkout ?? '', 'test/chart/golden/sandbox.yaml'), 'utf8'),
  })
  before(async () => {
    cluster = await rollout([KEYS.role, OTHER_KEY])
    await cluster.api.admin.create(SHOP_NAMESPACE as unknown as KubeObject)
    serving = await cluster.start([], previous())
    await serving.ready()
    all = [...CANDIDATES, ...(await tampered(cluster.api.admin))]
    clients = admissions(cluster.api.admin, all)
  })
  after(async () => {
    await clients?.end()
    await cluster?.close()
  })

  const summary = () => `${total} admissions so far, ${hungUp} left unanswered by the previous release`
  /** @param behind what is created from the time when the serving replica ends */
  const replaceBy = async (flags: readonly string[], release?: Release, behind?: readonly Candidate[]) => {
    const next = await cluster.start(flags, release)
    await next.ready()
    await clients.more(EACH)
    if (behind !== undefined) clients.offer(behind)
    await clients.more(2)
    const { port } = serving
    await serving.stop(() => clients.more(2))
    serving = next
    await clients.more(4)
    const { asked, wrong } = clients.taken()
    total += asked
    // Only an existing connection may be left unanswered; nobody may still dial that replica.
    const byPrevious = new RegExp(`->\\S+:${port}: .+$|: EOF$`)
    const others = Object.entries(wrong).filter(([what]) => release !== undefined || !byPrevious.test(what))
    hungUp += Object.keys(wrong).length - others.length
    assert.deepEqual(Object.fromEntries(others), {}, `of ${asked}`)
  }
  /** The previous release refuses pods during its own rollout, which is not tested here. */
  const replacePrevious = async (flags: readonly string[]) => {
    clients.offer(all.filter(({ expected }) => expected === 'refused'))
    await clients.more(2)
    await replaceBy(flags, previous())
  }
  const bothWays = (what: string, old: readonly string[], flags: readonly string[]) => {
    it(`${what}, upgrade`, async (t) => {
      if (old.length > 0) await replacePrevious(old)
      clients.offer(all)
      await clients.more(2)
      await replaceBy(flags)
      t.diagnostic(summary())
    })
    it(`${what}, rollback`, async (t) => {
      await replaceBy(old, previous())
      t.diagnostic(summary())
      if (old.length > 0) await replacePrevious([])
    })
  }

  bothWays('no setting changes', [], [])
  for (const [what, flags] of Object.entries(CHANGES)) bothWays(`${what} is set`, [], flags)
  for (const [what, flags] of Object.entries(CHANGES))
    if (!NEW_SETTINGS.includes(what)) bothWays(`${what} is reset`, flags, [])

  // The previous release does not know pods with only the new key: decision 0098.
  it('roleKey changes, upgrade', async () => {
    clients.offer([FIRST, BOTH])
    await clients.more(2)
    await replaceBy([`--role-key=${OTHER_KEY}`], undefined, [BOTH])
  })
  it('roleKey changes, rollback', async (t) => {
    await replaceBy([], previous())
    t.diagnostic(summary())
  })
})
