type Flight<T> = { readonly running: Promise<T>; next: Promise<T> | undefined }

/**
 * Allows one read of an object at a time. A lookup during a read shares the next read, never the one in progress: that may have
 * been answered before the label was written on which the lookup depends.
 */
export function coalesced<T>(read: (name: string) => Promise<T>): (name: string) => Promise<T> {
  const flights = new Map<string, Flight<T>>()
  const start = (name: string): Promise<T> => {
    const flight: Flight<T> = { running: read(name), next: undefined }
    flights.set(name, flight)
    const ended = () => {
      if (flight.next === undefined) flights.delete(name)
    }
    flight.running.then(ended, ended)
    return flight.running
  }
  return function sharedLookUp(name) {
    const flight = flights.get(name)
    if (flight === undefined) return start(name)
    const after = () => start(name)
    flight.next ??= flight.running.then(after, after)
    return flight.next
  }
}
