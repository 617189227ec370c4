/** The explanation of one pod or one manifest. */
import { type ExitCode, exitCode, type Page } from '../outcome.ts'
import { indented, wrapped } from '../output/table.ts'
import { firstFailed, type Step } from './step.ts'

export type Explanation = {
  readonly kind: string
  readonly namespace: string
  readonly name: string
  /** More text for the heading: its node, or the file. */
  readonly where?: string | undefined
  readonly steps: readonly Step[]
  readonly warnings: readonly string[]
  /** What admission adds, if that was requested. */
  readonly adds?: Additions | undefined
  /** Where settings or namespaces come from, if the reader might not expect it. */
  readonly notes: readonly string[]
}

export type Additions = {
  readonly containers: readonly string[]
  readonly volumes: readonly string[]
  readonly env: readonly string[]
  readonly patch: readonly unknown[]
}

const MARK = { ok: '✔', warning: '!', failed: '✖', 'not-checked': '-' } as const
const TONE = { ok: 'good', warning: 'warning', failed: 'bad', 'not-checked': 'dim' } as const
const MARGIN = 4
const TITLE = 20

/** 1 if a step fails; 2 if none fails but the last step, which proves the others, could not be checked. */
export function exitOf(explanations: readonly Explanation[]): ExitCode {
  const hasFailed = explanations.some(({ steps }) => firstFailed(steps) !== undefined)
  return exitCode(
    hasFailed,
    explanations.some(({ steps }) => steps.at(-1)?.state === 'not-checked'),
  )
}

/** The document for JSON and YAML. */
export function documentOf({ steps, ...rest }: Explanation) {
  const first = firstFailed(steps)
  return {
    ...rest,
    failed:
      first === undefined
        ? null
        : { step: first.id, code: first.code, detail: first.detail, remedy: first.remedy },
    steps,
  }
}

export function explanationText(explanation: Explanation, page: Page): string {
  const { kind, namespace, name, where, steps, warnings, adds, notes } = explanation
  const { paint } = page
  const heading = `${paint('bold', `${kind} ${namespace}/${name}`)}${where ? `, ${where}` : ''}`
  const first = firstFailed(steps)
  const verdict = first
    ? [paint('bad', `${first.title}: ${first.code}`), `  → ${indented(first.remedy, 4, page).slice(4)}`]
    : []
  const paragraphs = [
    wrapped(heading, page.width),
    '',
    ...steps.map((step) => stepText(step, page)),
    ...(adds === undefined ? [] : ['', ...addsText(adds, page)]),
    ...warnings.flatMap((text) => ['', indented(`${paint('warning', 'warning')}: ${text}`, 2, page)]),
    ...notes.flatMap((text) => ['', indented(paint('dim', `note: ${text}`), 2, page)]),
    ...(verdict.length === 0 ? [] : ['', ...verdict]),
  ]
  return `${paragraphs.join('\n')}\n`
}

function stepText({ state, title, detail }: Step, page: Page): string {
  const mark = page.paint(TONE[state], MARK[state])
  const text = state === 'not-checked' ? page.paint('dim', `not checked: ${detail}`) : detail
  const margin = MARGIN + TITLE
  return `  ${mark} ${title.padEnd(TITLE)}${indented(text, margin, page).slice(margin)}`
}

function addsText({ containers, volumes, env }: Additions, page: Page): string[] {
  const rows: [string, readonly string[]][] = [
    ['containers', containers],
    ['volumes', volumes],
    ['environment', env],
  ]
  return [
    '  admission adds',
    ...rows
      .filter(([, names]) => names.length > 0)
      .map(([what, names]) => {
        const margin = MARGIN + TITLE
        return `    ${what.padEnd(TITLE)}${indented(names.join(', '), margin, page).slice(margin)}`
      }),
  ]
}
