/** Debian's Chromium, driven by playwright-core; where it is missing, the tests that need it are skipped and listed. */
import { type Browser, chromium } from 'playwright-core'
import { needsPeer, peer } from '../peers/peers.ts'

/** Options for `test()`, which skip it with the reason where no browser runs. */
export const needsBrowser = () => needsPeer('chromium')

/** A headless browser, which the caller closes. It opens only pages on this machine's loopback, so root may run it. */
export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: peer('chromium') ?? '',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    timeout: 120_000,
  })
}
