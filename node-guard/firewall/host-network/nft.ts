import { failed } from '../../../common/result.ts'
import { tableCommands } from '../nft/commands.ts'
import { deleteTable, loadTable, nftFailure, readTable, runCommands } from '../nft/table.ts'
import { parseTable, type TableContent } from '../nft/table-content.ts'
import type { Exec } from '../process/exec.ts'
import { BROKER_PORT_COUNTER, OTHER_COUNTER, PROOF_COUNTER } from '../rules/host-network.ts'
import { admission, HOST_NETWORK_TABLE, hostNetworkRuleset } from '../rules/host-network-nft.ts'
import type { HostNetworkBackend } from './backend.ts'

/** So many counters of pods that are gone are kept at most. */
const MAX_STALE = 64

/** The backend that keeps the rules about pods on the host network in a table of nft. */
export function nftHostNetwork(exec: Exec): HostNetworkBackend {
  let text: string | undefined
  return {
    name: 'nft',
    what: `table ${HOST_NETWORK_TABLE}`,
    load: async (rules) => {
      text = undefined
      const read = await readTable(exec, HOST_NETWORK_TABLE)
      const before = read.ok ? read.content : undefined
      const ruleset = hostNetworkRuleset(rules)
      const kept = rules.pods.map(({ counter }) => counter)
      const commands = [tableCommands(ruleset).commands, ...stale(before, kept)]
      const result = await loadTable(exec, ruleset, runCommands(exec, commands.join('\n')))
      if (!result.ok) return result
      if (result.loaded === undefined)
        return failed(`table ${HOST_NETWORK_TABLE} was changed while it was loaded`)
      text = result.loaded.text
      return {
        ok: true,
        before: read.ok ? (before?.packets ?? {}) : undefined,
        packets: result.loaded.packets,
      }
    },
    // The rules are not read each time, since nft searches all cgroups of the node for each that it prints.
    read: async (whole) => {
      const read = whole ? await readTable(exec, HOST_NETWORK_TABLE) : await readCounters(exec)
      if (!read.ok) return read
      const differs = read.content === undefined || (whole && read.content.text !== text)
      return { ok: true, packets: read.content?.packets ?? {}, differs }
    },
    admit: async (cgroup) => {
      const result = await runCommands(exec, admission(cgroup))
      if (result.code === 0) return { ok: true, admitted: true }
      const read = await readTable(exec, HOST_NETWORK_TABLE)
      return read.ok && read.content === undefined ? { ok: true, admitted: false } : nftFailure(result)
    },
    remove: async () => {
      const read = await readTable(exec, HOST_NETWORK_TABLE)
      if (!read.ok) return read
      return read.content === undefined ? undefined : deleteTable(exec, HOST_NETWORK_TABLE)
    },
    eventFilter: {
      tables: [HOST_NETWORK_TABLE],
      matches: (line) => line.includes(HOST_NETWORK_TABLE),
    },
  }
}

/** The table's counters, without its rules; `content` is undefined where the table is gone. */
async function readCounters(exec: Exec): ReturnType<typeof readTable> {
  const result = await exec('nft', ['--json', 'list', 'counters', 'table', ...HOST_NETWORK_TABLE.split(' ')])
  if (result.code !== 0) return readTable(exec, HOST_NETWORK_TABLE)
  const content = parseTable(result.stdout)
  return { ok: true, content: PROOF_COUNTER in content.packets ? content : undefined }
}

/** Commands that delete the counters of pods that are gone, many at once: for `delete` nft reads what all tables have. */
function stale(content: TableContent | undefined, pods: readonly string[]): string[] {
  const kept = new Set([OTHER_COUNTER, PROOF_COUNTER, BROKER_PORT_COUNTER, ...pods])
  const gone = Object.keys(content?.packets ?? {}).filter((name) => !kept.has(name))
  return gone.length < MAX_STALE ? [] : gone.map((name) => `delete counter ${HOST_NETWORK_TABLE} ${name}`)
}
