/** What the guards report about their nodes. */

import { type Finding, failed, notChecked, ok, warning } from '../explain/step.ts'
import type { NodeReport, Nodes } from '../status/nodes.ts'

export function guards({ reports, isComplete }: Nodes): Finding {
  const troubled = reports.filter(({ troubles }) => troubles.length > 0)
  const [first] = troubled
  if (first !== undefined) {
    const [trouble] = first.troubles
    return failed(
      trouble?.code ?? 'node-unguarded',
      `${troubled.length} of ${reports.length} nodes; ${first.node}: ${trouble?.detail}`,
      'pod2iam status shows all of them',
    )
  }
  const asked = reports.filter(({ verified }) => verified === true).length
  if (asked < reports.length)
    return notChecked(
      `${reports.length - asked} of ${reports.length} guards could not be asked whether their block is in place`,
    )
  if (!isComplete)
    return notChecked(
      `all ${reports.length} guards are healthy, but it could not be seen whether every node has one`,
    )
  const audit = reports.filter(({ mode }) => mode !== 'enforce').length
  return audit > 0
    ? warning(
        'not-enforcing',
        `${audit} of ${reports.length} nodes refuse nothing (mode ${modes(reports)}): guard.mode=enforce`,
      )
    : ok(`the block is in place on ${reports.length} of ${reports.length} nodes, and their brokers are ready`)
}

const modes = (reports: readonly NodeReport[]) =>
  [...new Set(reports.map(({ mode }) => mode).filter((mode) => mode !== 'enforce'))].join(', ')

const IMDS = ['imds-v1', 'imds-hop-limit']

export function imds({ reports }: Nodes): Finding {
  const warned = reports.flatMap(({ node, warnings }) =>
    warnings.filter(({ code }) => IMDS.includes(code)).map((one) => ({ node, ...one })),
  )
  const [first] = warned
  if (first === undefined)
    return reports.every(({ source }) => source === 'guard')
      ? ok('the metadata service of every node requires session tokens, with a hop limit of 1')
      : notChecked('only the node guards know, and they could not be asked')
  const count = new Set(warned.map(({ node }) => node)).size
  return warning(first.code, `${count} of ${reports.length} nodes; ${first.node}: ${first.detail}`)
}

export function leftovers({ reports }: Nodes): Finding {
  const all = reports.flatMap(({ node, leftovers }) => leftovers.map((one) => ({ node, ...one })))
  const [first] = all
  if (first === undefined)
    return reports.every(({ source }) => source === 'guard')
      ? ok('no rule of kube2iam or kiam is left on a node')
      : notChecked('only the node guards know, and they could not be asked')
  return warning(
    'leftover',
    `${all.length} on ${new Set(all.map(({ node }) => node)).size} nodes; on ${first.node}: ${first.remove}`,
  )
}

/** Warnings that no other item reports. */
export function others({ reports }: Nodes): Finding {
  const all = reports.flatMap(({ node, warnings }) =>
    warnings
      .filter(({ code }) => !IMDS.includes(code) && code !== 'leftover' && code !== 'guard-not-asked')
      .map((one) => ({ node, ...one })),
  )
  const [first] = all
  if (first === undefined) return ok('there are no others')
  return warning(
    first.code,
    `${all.length} on ${new Set(all.map(({ node }) => node)).size} nodes; ${first.node}: ${first.detail}`,
  )
}
