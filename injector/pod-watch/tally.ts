/**
 * How many sidecars of which release, and of each no more than nine bytes in a table that is half full: which release its
 * uid was counted under, so that news of a pod is not counted twice and its end is counted once.
 */

export type Tally = {
  /** Counts a pod under a release, and under no other. `isNew`: it is no news of one that there was no room for. */
  readonly set: (uid: string, version: string, isNew?: boolean) => void
  readonly delete: (uid: string) => void
  readonly size: () => number
  /** Pods by release; `other` for those beyond the releases that are told apart. */
  readonly counts: () => Map<string, number>
  /** How many there was no room for. */
  readonly leftOut: () => number
}

/** Pods counted one by one: 9 MiB, and twice that while they are listed anew. The largest clusters that Kubernetes is tested with have 150,000. */
export const MAX_COUNTED = 500_000
/** Releases told apart in the metric: people can write what this is read from. */
export const MAX_VERSIONS = 20
/** A table grows a part at a time, so that no growth takes longer than a moment. */
const PARTS = 256
const FIRST_SLOTS = 16

export function tally(most = MAX_COUNTED): Tally {
  const parts = Array.from({ length: PARTS }, () => part())
  const versions = versionSlots()
  let size = 0
  let leftOut = 0
  return {
    set(uid, version, isNew = true) {
      const [high, low] = hashed(uid)
      const own = parts[low % PARTS]
      const before = own?.get(high, low) ?? 0
      if (before === 0 && size >= most) {
        if (isNew) leftOut++
        return
      }
      if (before === 0 && !isNew) leftOut = Math.max(0, leftOut - 1)
      if (before === 0) size++
      else versions.release(before)
      own?.set(high, low, versions.claim(version))
    },
    delete(uid) {
      const [high, low] = hashed(uid)
      const before = parts[low % PARTS]?.delete(high, low) ?? 0
      if (before === 0) {
        leftOut = Math.max(0, leftOut - 1)
        return
      }
      size--
      versions.release(before)
    },
    size: () => size,
    counts: versions.counts,
    leftOut: () => leftOut,
  }
}

/** Names of releases as small numbers from 1; a name that nobody has any more makes room for another. */
function versionSlots() {
  const names: (string | undefined)[] = [undefined, ...Array(MAX_VERSIONS), 'other']
  const counts = new Uint32Array(names.length)
  const other = names.length - 1
  const slotOf = (version: string) => {
    const known = names.indexOf(version, 1)
    if (known > 0) return known
    const free = counts.indexOf(0, 1)
    if (free < 0 || free >= other) return other
    names[free] = version
    return free
  }
  return {
    claim(version: string) {
      const slot = slotOf(version)
      counts[slot] = (counts[slot] ?? 0) + 1
      return slot
    },
    release(slot: number) {
      counts[slot] = (counts[slot] ?? 0) - 1
    },
    counts() {
      const found = new Map<string, number>()
      for (const [slot, name] of names.entries()) {
        const count = counts[slot] ?? 0
        if (name !== undefined && count > 0) found.set(name, count)
      }
      return found
    },
  }
}

/** A hash table with open addresses: two halves of a key, and a number from 1 to 255 for each; 0 is an empty slot. */
function part() {
  let keys = new Uint32Array(2 * FIRST_SLOTS)
  let values = new Uint8Array(FIRST_SLOTS)
  let used = 0
  /** The slot of a key, or the empty one in which it would stand. */
  const find = (high: number, low: number) => {
    const mask = values.length - 1
    let slot = high & mask
    while (values[slot] !== 0 && (keys[2 * slot] !== high || keys[2 * slot + 1] !== low))
      slot = (slot + 1) & mask
    return slot
  }
  const put = (slot: number, high: number, low: number, value: number) => {
    keys[2 * slot] = high
    keys[2 * slot + 1] = low
    values[slot] = value
  }
  const resize = (slots: number) => {
    const [oldKeys, oldValues] = [keys, values]
    keys = new Uint32Array(2 * slots)
    values = new Uint8Array(slots)
    for (const [slot, value] of oldValues.entries()) {
      if (value === 0) continue
      const [high = 0, low = 0] = [oldKeys[2 * slot], oldKeys[2 * slot + 1]]
      put(find(high, low), high, low, value)
    }
  }
  return {
    get: (high: number, low: number) => values[find(high, low)] ?? 0,
    set(high: number, low: number, value: number) {
      if (4 * (used + 1) > 3 * values.length) resize(2 * values.length)
      const slot = find(high, low)
      if (values[slot] === 0) used++
      put(slot, high, low, value)
    },
    /** What stood there; those behind it move up, so that none is sought beyond an empty slot. */
    delete(high: number, low: number): number {
      const found = find(high, low)
      const before = values[found] ?? 0
      if (before === 0) return 0
      used--
      const mask = values.length - 1
      let hole = found
      for (let slot = (hole + 1) & mask; values[slot] !== 0; slot = (slot + 1) & mask) {
        const home = (keys[2 * slot] ?? 0) & mask
        // Whether its home lies behind the hole, round the end of the table.
        if (((slot - home) & mask) < ((slot - hole) & mask)) continue
        put(hole, keys[2 * slot] ?? 0, keys[2 * slot + 1] ?? 0, values[slot] ?? 0)
        hole = slot
      }
      values[hole] = 0
      return before
    },
  }
}

/** Two halves of a hash of 64 bits (cyrb53's mixing): one in a hundred million that two of 500,000 uids share theirs. */
function hashed(uid: string): [high: number, low: number] {
  let [a, b] = [0xdeadbeef, 0x41c6ce57]
  for (let at = 0; at < uid.length; at++) {
    const code = uid.charCodeAt(at)
    a = Math.imul(a ^ code, 2654435761)
    b = Math.imul(b ^ code, 1597334677)
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909)
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909)
  return [b >>> 0, a >>> 0]
}
