/** The gate of a pod whose sidecar is ready: from the start of its process to its end. */
import { join } from 'node:path'
import { REDIRECT_TABLE } from '../../../node-guard/firewall/rules/pod-nft.ts'
import { NET_ADMIN_ONLY } from '../../firewall/guard-process.ts'
import type { TestNode } from '../../firewall/node.ts'
import { type Figure, median, quantile } from '../report.ts'
import { openBenchNode, startGuard } from './process.ts'

const READY_PORT = 9170
const SCRIPT = join(import.meta.dirname, 'timed.py')
/** Each run is that of a new pod, which has no rules of pod2iam yet. */
const NEW_POD = `nft 'add table ${REDIRECT_TABLE}; delete table ${REDIRECT_TABLE}'`

/** @param rounds number of runs of the gate, and of node with an empty script */
export async function gateFigures(bundle: string, rounds: number): Promise<Figure[]> {
  const node = await openBenchNode('routed')
  try {
    await startGuard(node, bundle, [])
    const ready = JSON.stringify({ ready: true, code: 'ready' })
    await (await node.agent('pod1')).serve({ port: READY_PORT, status: 200, body: ready })
    const command = [bundle, 'redirect', `--wait-ready=http://127.0.0.1:${READY_PORT}/readyz`]
    const [bare, gate]: [number[], number[]] = [[], []]
    // In turns, so that both run under the same conditions.
    for (let round = 0; round < rounds; round++) {
      bare.push(await timed(node, [process.execPath, '-e', '0']))
      gate.push(await timed(node, [process.execPath, ...command]))
    }
    const note = `median of ${rounds}; p90 ${quantile(gate, 0.9).toFixed(0)} ms`
    return [
      { name: 'gate, start of the process to its end', value: median(gate), unit: 'ms', target: 100, note },
      {
        name: 'node -e 0, start to end',
        value: median(bare),
        unit: 'ms',
        note: 'in turns with it: what any Node.js costs',
      },
    ]
  } finally {
    await node.close()
  }
}

/** Milliseconds that one run takes. */
async function timed(node: TestNode, command: readonly string[]): Promise<number> {
  const argv = ['python3', SCRIPT, NEW_POD, ...command]
  return Number(await node.must('pod1', [...NET_ADMIN_ONLY, ...argv]))
}
