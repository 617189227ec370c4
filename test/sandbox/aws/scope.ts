/** Whether a signature may be used here and now: service, region and clock of the credential scope. */
import { formatTime, parseTime, type Signature } from './sigv4.ts'
import { StsError } from './sts-error.ts'

/** Throws SignatureDoesNotMatch unless the scope names STS, one of the regions, and the day of the signature. */
export function checkScope(signature: Signature, regions: readonly string[]): void {
  if (signature.service !== 'sts')
    throw new StsError(
      'SignatureDoesNotMatch',
      403,
      "Credential should be scoped to correct service: 'sts'. ",
    )
  if (!regions.includes(signature.region))
    throw new StsError(
      'SignatureDoesNotMatch',
      403,
      `Credential should be scoped to a valid region, not '${signature.region}'. `,
    )
  const day = signature.time.slice(0, 8)
  if (signature.date !== day)
    throw new StsError(
      'SignatureDoesNotMatch',
      403,
      `Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '${signature.date}' != '${day}', from '${signature.time}'.`,
    )
}

/**
 * Throws unless the signature is fresh. Header form: within `skewMinutes` of our clock on either side, else
 * SignatureDoesNotMatch. Presigned form: RequestExpired after its own validity, at most 15 minutes for STS.
 *
 * @param now milliseconds since the epoch
 */
export function checkFreshness(signature: Signature, now: number, skewMinutes: number): void {
  const signed = parseTime(signature.time)
  const skew = skewMinutes * 60_000
  if (signed > now + skew)
    throw new StsError(
      'SignatureDoesNotMatch',
      403,
      `Signature not yet current: ${signature.time} is still later than ${formatTime(now + skew)} (${formatTime(now)} + ${skewMinutes} min.)`,
    )
  if (signature.expires !== undefined) {
    if (now > signed + Math.min(signature.expires, 900) * 1000)
      throw new StsError('RequestExpired', 400, 'Request has expired.')
    return
  }
  if (signed < now - skew)
    throw new StsError(
      'SignatureDoesNotMatch',
      403,
      `Signature expired: ${signature.time} is now earlier than ${formatTime(now - skew)} (${formatTime(now)} - ${skewMinutes} min.)`,
    )
}
