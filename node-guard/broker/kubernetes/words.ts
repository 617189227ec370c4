/**
 * What the watch has said, and when, by a count that only rises: a live read may have been answered before, and arrive after, the
 * watch's word about the same object, and must not undo it. Resource versions would not do: a deletion that a new list implies
 * has none.
 */
import { BoundedMap } from '../../../common/bounded-map.ts'
import { Problem } from '../../../common/protocol.ts'

type Words = {
  /** The watch has said something about an object. */
  readonly said: (key: string) => void
  /** The watch has said what there is: about every object, also by leaving it out. */
  readonly saidAll: () => void
  /** Stands for the last word about an object: another number means that there was one in between. */
  readonly last: (key: string) => number
}

/** @param most objects whose last words are remembered; of others the last is the youngest that was forgotten */
export function wordsOfWatch(most: number): Words {
  let count = 0
  let others = 0
  const byKey = new BoundedMap<string, number>(most, (word) => {
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

/** The watch says something about an object once in a while: in the middle of two reads in a row, hardly ever. */
const TRIES = 2

/**
 * What `read` brings, if the watch says nothing about it from before it was asked until it is answered: only then is it known
 * to be the younger of the two.
 *
 * @param last the watch's last word about what is read
 * @param read gets that word: an answer to somebody who asked before it must not be reused
 * @param known what the watch has brought meanwhile, where that will do
 * @throws {Problem} `busy` where nothing is known after two tries, and what `read` throws
 */
export async function youngest<T>(
  last: () => number,
  read: (word: number) => Promise<T>,
  known: () => T | undefined,
): Promise<T> {
  for (let tries = 0; tries < TRIES; tries++) {
    const word = last()
    const answer = await read(word)
    if (last() === word) return answer
    const brought = known()
    if (brought !== undefined) return brought
  }
  throw new Problem('busy', 'what is asked about changes while it is read; retry', { retryAfter: 1 })
}
