/**
 * Which requests are allowed. The dashboard listens on loopback, which any web page in a browser on this machine can
 * reach as well. A page that resolves its own name to 127.0.0.1 (DNS rebinding) sends that name as Host; any other page
 * sends its Origin or site (Fetch Metadata).
 */
import type { IncomingHttpHeaders } from 'node:http'

export type Denied = { readonly status: 403 | 405; readonly message: string }

/** @returns undefined if the request may be served */
export function deniedBy(method: string, headers: IncomingHttpHeaders, port: number): Denied | undefined {
  const hosts = ['127.0.0.1', 'localhost'].map((name) => `${name}:${port}`)
  const here = `http://${hosts[0]}/`
  if (headers.host === undefined || !hosts.includes(headers.host.toLowerCase()))
    return { status: 403, message: `This page is only served under its own address; open ${here}.` }
  const { origin, 'sec-fetch-site': site, 'sec-fetch-mode': mode, 'sec-fetch-dest': dest } = headers
  const isForeign = origin !== undefined && !hosts.some((host) => origin === `http://${host}`)
  // Another page may link here, but may not load this page as a resource.
  const isNavigation = mode === 'navigate' && dest === 'document'
  const isOtherSite = site !== undefined && site !== 'same-origin' && site !== 'none' && !isNavigation
  if (isForeign || isOtherSite)
    return { status: 403, message: `Other web pages may not read this one; open ${here} yourself.` }
  if (method !== 'GET') return { status: 405, message: 'This page can only be read, by GET.' }
  return undefined
}
