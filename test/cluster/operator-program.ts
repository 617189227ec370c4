/** The operator's program (`cli/`), run as a process with the kubeconfig of the test. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Context } from './context.ts'

export const PROGRAM = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

type Ran<T> = { readonly code: number; readonly data: T; readonly errors: string }

/** The options that say which cluster to use. */
export function placeOf({ kubeconfig, context }: Context['options']): string[] {
  return [
    ...(kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig]),
    ...(context === undefined ? [] : ['--context', context]),
  ]
}

/** Runs it to its end. @throws Error with its output if that is not a JSON document */
export async function pod2iam<T>({ options }: Context, ...words: readonly string[]): Promise<Ran<T>> {
  const child = spawn(process.execPath, [PROGRAM, ...words, ...placeOf(options), '--output', 'json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const [output, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  try {
    return { code, data: JSON.parse(output), errors }
  } catch {
    throw new Error(`pod2iam ${words[0]} ended with ${code}: ${errors}${output.slice(0, 500)}`)
  }
}
