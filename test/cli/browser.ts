/** Debian's Chromium, driven by playwright-core; a machine without it leaves out what needs it, by name. */
import { type Browser, chromium } from 'playwright-core'
import { needsPeer, peer } from '../peers/peers.ts'

/** Options for `test()`: skips with the reason where there is no browser that runs. */
export const needsBrowser = () => needsPeer('chromium')

/** A browser without a window, which the caller closes. It opens pages of this machine's loopback alone, so that root may run it. */
export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: peer('chromium') ?? '',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    timeout: 120_000,
  })
}
