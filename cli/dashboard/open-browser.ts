import { spawn } from 'node:child_process'

const COMMANDS: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
}

/**
 * Opens the address in the default browser.
 *
 * @param failed called if the browser could not be started
 */
export function openBrowser(url: string, failed: (error: Error) => void): void {
  const [command = '', ...args] = COMMANDS[process.platform] ?? ['xdg-open']
  const child = spawn(command, [...args, url], { stdio: 'ignore', detached: true })
  child.once('error', failed)
  child.unref()
}
