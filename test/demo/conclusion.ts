/** The last paragraph of the demo: a short summary of what was shown. */
import type { Output } from './output.ts'

/** What a reader should remember of a run that showed everything. */
const SUMMARY =
  'What you saw: a pod with an annotation has the credentials of its own role from its first instruction on, at the address that ' +
  'every AWS SDK asks; every other pod is refused at once; a killed node guard changes neither; and flushed rules come back ' +
  'by themselves, or, with guard.ownedTable, cannot be flushed at all. ' +
  'docs/install.md puts it on a cluster.'

const ON_LOOPBACK =
  'What you saw: a pod with an annotation gets the credentials of its own role, and a role that its namespace may not use is refused. ' +
  'As root on Linux the demo also shows the redirect and the block.'

/**
 * The paragraphs at the end.
 *
 * @param time how long it took, with its unit
 */
export function conclusion(
  { failures, omissions, shown }: Pick<Output, 'failures' | 'omissions' | 'shown'>,
  time: string,
  loopback = false,
): string[] {
  const left = omissions.length > 0 ? [`Left out on this machine: ${omissions.join('; ')}.`] : []
  if (failures.length > 0)
    return [
      ...failures.map((failure) => `NOT SHOWN: ${failure}`),
      `${failures.length} of ${failures.length + shown} not shown, in ${time}.`,
      ...left,
    ]
  return [
    loopback ? ON_LOOPBACK : SUMMARY,
    '',
    `Everything shown: ${shown} of ${shown}, in ${time}.`,
    ...left,
  ]
}
