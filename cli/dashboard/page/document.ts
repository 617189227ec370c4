/** The whole page, and its individual sections for updates. */
import { createHash } from 'node:crypto'
import { VERSION } from '../../../common/version.ts'
import type { View } from '../feed.ts'
import { type Filter, filtered, hasProblem, isWaiting } from '../filter.ts'
import type { Snapshot } from '../snapshot.ts'
import { auditSection } from './audit.ts'
import { filterForm } from './form.ts'
import { type Html, html, isolated, plural, raw, sanitized } from './html.ts'
import { type NodeNames, nodeNames, nodesSection } from './nodes.ts'
import { podsSection } from './pods.ts'
import { refusalsSection } from './refusals.ts'
import { SCRIPT } from './script.ts'
import { type SectionId, section } from './section.ts'
import { STYLE } from './style.ts'
import { limitsSection, summarySection } from './summary.ts'

const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** Only our own script and style sheet are allowed, only updates are loaded, and no other page may frame this one. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  `script-src ${hashOf(SCRIPT)}`,
  `style-src ${hashOf(STYLE)}`,
  "connect-src 'self'",
  // The icon, which browsers would request otherwise.
  'img-src data:',
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** The parts that change, by id, in the order of the page. */
function partsOf(view: View, filter: Filter): Readonly<Record<string, Html>> {
  const left = view.snapshot && filtered(view.snapshot, filter)
  const names: NodeNames = view.snapshot ? nodeNames(view.snapshot) : new Map()
  return {
    when: whenText(view.snapshot),
    summary: summarySection({ ...view, snapshot: left }),
    nodes: left ? nodesSection(left, filter, names) : notYet('nodes', 'Nodes'),
    refusals: left ? refusalsSection(left) : notYet('refusals', 'Refusals'),
    pods: left ? podsSection(left, filter, names) : notYet('pods', 'Pods and their roles'),
    audit: left ? auditSection(left) : notYet('audit', 'Audit'),
    limits: limitsSection(left),
  }
}

const notYet = (id: SectionId, title: string) => section(id, title, html`<p>Not read yet.</p>`)

function whenText(snapshot: Snapshot | undefined): Html {
  if (snapshot === undefined) return html`<span id="when">Nothing has been read yet.</span>`
  const time = new Date(snapshot.takenAt).toISOString()
  return html`<span id="when">
    Context ${isolated(snapshot.context)}, as of <time datetime="${time}">${time.slice(11, 19)} UTC</time>.
  </span>`
}

/** The page as HTML. */
export async function pageOf(view: View, filter: Filter): Promise<string> {
  const { when, ...rest } = partsOf(view, filter)
  const page = await html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${view.snapshot === undefined && html`<noscript><meta http-equiv="refresh" content="3"></noscript>`}
<title>${titleOf(view)}</title>
<link rel="icon" href="data:,">
<style>${raw(STYLE)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<h1>pod2iam</h1>
<p class="where">${when} <span class="live-state">Reload to update.</span></p>
<p class="announce" id="announce" role="status" aria-live="polite"></p>
</header>
<main id="main" tabindex="-1">
${filterForm(filter, view.snapshot)}
${Object.values(rest)}
</main>
<footer><p>pod2iam ${VERSION}. This page shows what your kubeconfig may see, and changes nothing.</p></footer>
<script>${raw(SCRIPT)}</script>
</body>
</html>
`
  return sanitized(page.toString())
}

/** The sections of an update, with one sentence for screen readers. */
export async function updateOf(view: View, filter: Filter): Promise<string> {
  const sections = await Promise.all(
    Object.entries(partsOf(view, filter)).map(async ([id, markup]) => [
      id,
      sanitized((await markup).toString()),
    ]),
  )
  return JSON.stringify({
    sections: Object.fromEntries(sections),
    title: titleOf(view),
    words: wordsOf(view, filter),
  })
}

function titleOf({ snapshot, fault }: View): string {
  const troubled = snapshot?.nodes?.filter(hasProblem).length ?? 0
  if (fault !== undefined) return 'pod2iam: the cluster cannot be read'
  return troubled === 0 ? 'pod2iam' : `pod2iam: ${plural(troubled, 'node')} with problems`
}

function wordsOf({ snapshot, fault }: View, filter: Filter): string {
  if (fault !== undefined) return 'The cluster cannot be read.'
  if (snapshot === undefined) return ''
  const { nodes, pods, refusals } = filtered(snapshot, filter)
  return [
    nodes && `${plural(nodes.filter(hasProblem).length, 'node')} with problems`,
    pods && `${plural(pods.filter(isWaiting).length, 'pod')} without credentials`,
    refusals && plural(refusals.length, 'refusal'),
  ]
    .filter((one) => one !== null)
    .join(', ')
}
