/**
 * Error bodies as EC2 prints them (capture of September 2023: the 404 has exactly 339 bytes), and every header
 * that goes with an answer.
 */
import { STATUS_CODES } from 'node:http'

/** Old HashiCorp code probes for a `Server` that contains `EC2`. */
export const SERVER = 'EC2ws'

/** The XHTML body of an error. The odd indentation of the second line is the original's. */
export function errorPage(status: number): string {
  const title = `${status} - ${STATUS_CODES[status] ?? 'Error'}`
  return `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t\t "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>${title}</title>
 </head>
 <body>
  <h1>${title}</h1>
 </body>
</html>
`
}

/** A whole HTTP/1.1 answer, for requests that never got as far as a route (malformed, too slow, headers too long). */
export function rawErrorResponse(status: number, now: number): string {
  const body = errorPage(status)
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}`,
    'Content-Type: text/html',
    `Content-Length: ${body.length}`,
    `Date: ${new Date(now).toUTCString()}`,
    `Server: ${SERVER}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n')
}
