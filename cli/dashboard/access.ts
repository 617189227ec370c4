/**
 * Who may ask. The page listens on loopback, which every web page that a browser on this machine shows can reach as well: one that
 * resolves its own name to 127.0.0.1 (DNS rebinding) sends that name as Host, and any other one its Origin or its site (Fetch Metadata).
 */
import type { IncomingHttpHeaders } from 'node:http'

export type Denied = { readonly status: 403 | 405; readonly message: string }

/** @returns undefined where the request may be served */
export function deniedBy(method: string, headers: IncomingHttpHeaders, port: number): Denied | undefined {
  const hosts = ['127.0.0.1', 'localhost'].map((name) => `${name}:${port}`)
  const here = `http://${hosts[0]}/`
  if (headers.host === undefined || !hosts.includes(headers.host.toLowerCase()))
    return { status: 403, message: `This page is only served under its own address; open ${here}.` }
  const { origin, 'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': dest } = headers
  const isForeign = origin !== undefined && !hosts.some((host) => origin === `http://${host}`)
  // A link in another page may lead here; what that page loads by itself may not.
  const isNavigation = mode === 'navigate' && dest === 'document'
  const isOtherSite = site !== undefined && site !== 'same-origin' && site !== 'none' && !isNavigation
  if (isForeign || isOtherSite)
    return { status: 403, message: `Other web pages may not read this one; open ${here} yourself.` }
  if (method !== 'GET') return { status: 405, message: 'This page can only be read, by GET.' }
  return undefined
}
