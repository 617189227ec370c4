/**
 * Counts sidecars by release. Of each it keeps only nine bytes in a table that is half full: the release under which its uid was
 * counted, so that an update of a pod is not counted twice and its end is counted once.
 */

export type Tally = ReturnType<typeof tally>

/** Pods counted: 9 MiB, and twice that while they are listed again. The largest clusters with which Kubernetes is tested have 150,000. */
const MAX_COUNTED = 500_000
/** Releases distinguished in the metric: people can write the annotation from which they are read. */
export const MAX_VERSIONS = 20
/** The table grows in parts, so that no single growth takes long. */
const PARTS = 256
const FIRST_SLOTS = 16

export function tally(max = MAX_COUNTED) {
  const parts = Array.from({ length: PARTS }, () => part())
  const versions = versionSlots()
  let size = 0
  let leftOut = 0
  return {
    /** Counts a pod under this release only. `isNew`: false for an update of a pod for which there was no room. */
    set(uid: string, version: string, isNew = true) {
      const [high, low] = hashed(uid)
      const own = parts[low % PARTS]
      const before = own?.get(high, low) ?? 0
      if (before === 0 && size >= max) {
        if (isNew) leftOut++
        return
      }
      if (before === 0 && !isNew) leftOut = Math.max(0, leftOut - 1)
      if (before === 0) size++
      else versions.release(before)
      own?.set(high, low, versions.claim(version))
    },
    delete(uid: string) {
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
    /** Pods by release; `other` beyond the number of releases that are distinguished. */
    counts: versions.counts,
    /** Number of pods for which there was no room. */
    leftOut: () => leftOut,
  }
}

/** Numbers release names from 1; the number of a name without pods is reused. */
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

/** A hash table with open addressing: for each key, in two halves, a number from 1 to 255; 0 marks an empty slot. */
function part() {
  let keys = new Uint32Array(2 * FIRST_SLOTS)
  let values = new Uint8Array(FIRST_SLOTS)
  let used = 0
  /** The slot of a key, or the empty one where it belongs. */
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
    /** Returns the former value. Later entries move up, so that no search passes an empty slot. */
    delete(high: number, low: number): number {
      const found = find(high, low)
      const before = values[found] ?? 0
      if (before === 0) return 0
      used--
      const mask = values.length - 1
      let hole = found
      for (let slot = (hole + 1) & mask; values[slot] !== 0; slot = (slot + 1) & mask) {
        const home = (keys[2 * slot] ?? 0) & mask
        // An entry whose home is after the hole, counted around the end of the table, stays.
        if (((slot - home) & mask) < ((slot - hole) & mask)) continue
        put(hole, keys[2 * slot] ?? 0, keys[2 * slot + 1] ?? 0, values[slot] ?? 0)
        hole = slot
      }
      values[hole] = 0
      return before
    },
  }
}

/** A hash of 64 bits in two halves (cyrb53's mixing): the chance that two of 500,000 uids share one is 1 in a hundred million. */
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
