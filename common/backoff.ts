/**
 * Exponential back-off with jitter: between half and the whole of `base · 2^(failures − 1)`, at most `cap`. Half is
 * kept because full jitter would now and then retry at once.
 *
 * @param failures how often in a row it failed, from 1
 * @param bounds milliseconds
 * @param random from 0 (included) to 1
 */
export function backoff(
  failures: number,
  { base, cap }: { readonly base: number; readonly cap: number },
  random: () => number = Math.random,
): number {
  const whole = Math.min(cap, base * 2 ** Math.min(failures - 1, 30))
  return whole / 2 + (whole / 2) * random()
}

/** An interval that is up to a tenth shorter or longer each time, so that many processes do not come together. @param random from 0 to 1 */
export function spread(milliseconds: number, random: () => number = Math.random): number {
  return milliseconds * (0.9 + 0.2 * random())
}
