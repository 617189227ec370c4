/**
 * Counts what the watch reports: the answer to a live read may be older than the watch's last report of the same object although it
 * arrives later, and must not undo it. Resource versions cannot replace the count: a deletion that a new list implies has none.
 */
import { BoundedMap } from '../../../common/bounded-map.ts'
import { Problem } from '../../../common/protocol.ts'

/** @param max objects whose last report is remembered; for the others the latest forgotten count is assumed */
export function revisionsOfWatch(max: number) {
  let count = 0
  let others = 0
  const byKey = new BoundedMap<string, number>(max, (revision) => {
    others = revision
  })
  return {
    /** The watch has reported an object. */
    reported: (key: string) => void byKey.set(key, ++count),
    /** A list has arrived, which reports every object, also those it does not contain. */
    listed: () => {
      byKey.clear()
      others = ++count
    },
    /** The count at the last report of an object: another number means that there was a report in between. */
    of: (key: string) => byKey.get(key) ?? others,
  }
}

/** The watch rarely reports an object, and hardly ever during two reads in a row. */
const MAX_TRIES = 2

/**
 * Reads an object so that the answer is known to be newer than what the watch reported: the watch must not report the object between the
 * beginning of the read and its answer.
 *
 * @param current the present revision of what is read
 * @param read gets that revision: an answer to a read that began before it must not be reused
 * @param known what the watch has reported in the meantime, which is then returned instead; undefined if that does not suffice
 * @throws {Problem} `busy` if nothing is known after two tries, and what `read` throws
 */
export async function consistentRead<T>(
  current: () => number,
  read: (revision: number) => Promise<T>,
  known: () => T | undefined,
): Promise<T> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const revision = current()
    const answer = await read(revision)
    if (current() === revision) return answer
    const reported = known()
    if (reported !== undefined) return reported
  }
  throw new Problem('busy', 'what is asked about changes while it is read; retry', { retryAfter: 1 })
}
