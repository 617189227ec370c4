/** Verdicts as a table for people. Pure. */
import type { Verdict } from './promise.ts'

const MARKS = { kept: '✔', broken: '✖', 'left out': '–' } as const

/** The table, then the counts; broken promises and why are repeated at the end, where a terminal shows them. */
export function tableOf(verdicts: readonly Verdict[]): string {
  const width = Math.max(0, ...verdicts.map(({ promise }) => promise.length))
  const lines: string[] = []
  let group = ''
  for (const verdict of verdicts) {
    if (verdict.group !== group) lines.push('', verdict.group)
    group = verdict.group
    const [detail = ''] = verdict.detail.split('\n')
    const { outcome, promise, seconds } = verdict
    const took = outcome === 'left out' ? '' : ` (${seconds.toFixed(1)} s)`
    lines.push(`  ${MARKS[outcome]} ${promise.padEnd(width)}  ${detail}${took}`)
  }
  const count = (wanted: Verdict['outcome']) => verdicts.filter(({ outcome }) => outcome === wanted).length
  const broken = verdicts.filter(({ outcome }) => outcome === 'broken')
  return [
    ...lines,
    ...broken.flatMap(({ group, promise, detail }) => ['', `✖ ${group}: ${promise}`, indented(detail)]),
    '',
    `promises: ${count('kept')} kept, ${count('broken')} broken, ${count('left out')} left out`,
  ].join('\n')
}

/** 1 when a promise is broken, or when none could be shown. */
export function exitCodeOf(verdicts: readonly Verdict[]): number {
  const outcomes = verdicts.map(({ outcome }) => outcome)
  return outcomes.includes('broken') || !outcomes.includes('kept') ? 1 : 0
}

function indented(text: string): string {
  return text.replace(/^/gm, '    ')
}
