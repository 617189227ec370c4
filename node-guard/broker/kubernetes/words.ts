/**
 * The order of the watch's news, by a count that only rises: the answer to a live read may be older than the watch's news of the same
 * object although it arrives later, and must not undo it. Resource versions cannot replace the count: a deletion that a new list implies
 * has none.
 */
import { BoundedMap } from '../../../common/bounded-map.ts'
import { Problem } from '../../../common/protocol.ts'

type Words = {
  /** The watch has had news of an object. */
  readonly said: (key: string) => void
  /** A list has arrived, which is news of every object, also of those it does not contain. */
  readonly saidAll: () => void
  /** The count at the latest news of an object: another number means that there was news in between. */
  readonly last: (key: string) => number
}

/** @param max objects whose latest news is remembered; for the others the youngest forgotten count is assumed */
export function wordsOfWatch(max: number): Words {
  let count = 0
  let others = 0
  const byKey = new BoundedMap<string, number>(max, (word) => {
    others = word
  })
  return {
    said: (key) => void byKey.set(key, ++count),
    saidAll: () => {
      byKey.clear()
      others = ++count
    },
    last: (key) => byKey.get(key) ?? others,
  }
}

/** The watch rarely has news of an object, and hardly ever during two reads in a row. */
const MAX_TRIES = 2

/**
 * What `read` brings, if the watch has no news of the object from before the read begins until it is answered: only then is the
 * answer known to be younger than what the watch brought.
 *
 * @param last the count at the watch's latest news of what is read
 * @param read gets that count: an answer to a read that began before it must not be reused
 * @param known what the watch has brought meanwhile, where that will do
 * @throws {Problem} `busy` where nothing is known after two tries, and what `read` throws
 */
export async function youngest<T>(
  last: () => number,
  read: (word: number) => Promise<T>,
  known: () => T | undefined,
): Promise<T> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const word = last()
    const answer = await read(word)
    if (last() === word) return answer
    const brought = known()
    if (brought !== undefined) return brought
  }
  throw new Problem('busy', 'what is asked about changes while it is read; retry', { retryAfter: 1 })
}
