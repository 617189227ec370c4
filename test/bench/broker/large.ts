/** A node with more pods than usual: the broker under a memory limit, as the kernel accounts it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { KEYS } from '../../../common/keys.ts'
import type { TestPod } from '../../broker/world.ts'
import { type MemoryCgroup, memoryCgroup, peakMib } from '../cgroup.ts'
import type { Figure } from '../report.ts'
import { askUntilGiven, openWorkshop, spawnBroker, type Workshop } from './process.ts'
import { startStorm } from './storm.ts'

/** The memory that the broker must not exceed; the chart's limit leaves room for the largest objects (decision 0044). */
const LIMIT_MIB = 64
const MIB = 2 ** 20
const [ROLES, NAMESPACES] = [25, 10]
/** The size that kubectl apply, controllers and managedFields give a pod's manifest. */
const USUAL_MANIFEST = 8 * 1024
/** 500 sessions at 20 a second (--sts-qps) take 25 s, and an API server that is not available adds to that. */
const PATIENCE_MS = 90_000
const ROUNDS = 5
const API_AWAY_MS = 1000

type Phase = { readonly name: string; readonly run: () => Promise<number> }

/** Figures of one broker on a node of that many pods, through everything that happens at once on a bad day. */
export async function largeNodeFigures(
  count: number,
  tell: (what: string) => void,
): Promise<readonly Figure[]> {
  const workshop = await openWorkshop()
  let cgroup: MemoryCgroup | undefined
  try {
    tell('made')
    const pods = await largeNode(workshop, count)
    cgroup = memoryCgroup(`pod2iam-bench-${process.pid}-broker-${count}`, LIMIT_MIB * MIB)
    return await underLimit(workshop, pods, cgroup, tell)
  } finally {
    cgroup?.remove()
    await workshop.world.stop()
  }
}

async function largeNode({ world }: Workshop, count: number): Promise<TestPod[]> {
  for (let index = 0; index < ROLES; index++) await world.role(`app-${index}`)
  for (let index = 0; index < NAMESPACES; index++) await world.namespace(`team-${index}`)
  const annotations = {
    'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify({
      manifest: 'x'.repeat(USUAL_MANIFEST),
    }),
  }
  const pods: TestPod[] = []
  for (let index = 0; index < count; index++)
    pods.push(
      await world.pod(`team-${index % NAMESPACES}`, `pod-${index}`, {
        role: `app-${index % ROLES}`,
        annotations,
      }),
    )
  return pods
}

async function underLimit(
  workshop: Workshop,
  pods: readonly TestPod[],
  cgroup: MemoryCgroup,
  tell: (what: string) => void,
): Promise<Figure[]> {
  const { world } = workshop
  const broker = await spawnBroker(workshop, { cgroupProcs: cgroup.procs })
  let workingSet = 0
  const sampler = setInterval(() => {
    workingSet = Math.max(workingSet, cgroup.workingSet())
  }, 20)
  const all = async () => {
    const waits = await Promise.allSettled(pods.map((pod) => askUntilGiven(broker.port, pod, PATIENCE_MS)))
    return waits.filter(({ status }) => status === 'rejected').length
  }
  const phases: readonly Phase[] = [
    { name: 'cold start, all at once', run: all },
    {
      name: 'steady asking',
      run: async () => {
        let missing = 0
        for (let round = 0; round < ROUNDS; round++) missing += await all()
        return missing
      },
    },
    {
      name: 'every session issued again',
      run: async () => {
        await withdrawAndGrant(workshop)
        return all()
      },
    },
    {
      name: 'all listed again, during a storm of strangers',
      run: async () => {
        const storm = startStorm(broker.port)
        try {
          const asking = all()
          await world.api.restart({ downMs: API_AWAY_MS })
          const missing = (await asking) + (await all())
          await withdrawAndGrant(workshop)
          return missing + (await all())
        } finally {
          await storm.stop()
        }
      },
    },
  ]
  const figures: Figure[] = []
  const where = `${pods.length} pods`
  try {
    for (const { name, run } of phases) {
      tell(name)
      workingSet = 0
      const start = performance.now()
      const missing = await run()
      const seconds = ((performance.now() - start) / 1000).toFixed(1)
      await sleep(500)
      figures.push(
        {
          name: `working set, peak, ${where}: ${name}`,
          value: workingSet / MIB,
          unit: 'MiB',
          target: LIMIT_MIB,
          note: `${seconds} s`,
        },
        { name: `requests that got nothing, ${where}: ${name}`, value: missing, unit: '', target: 0 },
      )
    }
    figures.push(
      {
        name: `charged, peak, ${where}`,
        value: peakMib(cgroup),
        unit: 'MiB',
        target: LIMIT_MIB,
        note: `limit ${LIMIT_MIB} MiB; with pages of files that could be dropped`,
      },
      { name: `private memory, peak, ${where}`, value: broker.peak(), unit: 'MiB' },
      { name: `killed by the kernel, ${where}`, value: cgroup.kills(), unit: '', target: 0 },
    )
    return figures
  } finally {
    clearInterval(sampler)
    await broker.end()
  }
}

/** Takes the permission of each namespace away and gives it back: the sessions are dropped and requested again. */
async function withdrawAndGrant({ world }: Workshop): Promise<void> {
  for (const roles of ['[]', '["*"]'])
    for (let index = 0; index < NAMESPACES; index++)
      await world.api.admin.patch('namespaces', `team-${index}`, undefined, {
        metadata: { annotations: { [KEYS.allowedRoles]: roles } },
      })
}
