/**
 * Records a release as the next one's tests need it (README.md). Takes a checkout of it in which `npm run build` has run:
 * `node test/previous-release/record.ts CHECKOUT`.
 */
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { admissions } from './admissions.ts'

const RECORDED = join(import.meta.dirname, 'recorded')

/** A JSON array with a line for each entry: diffs stay readable, and the file small. */
function lines(entries: readonly unknown[]): string {
  return `[\n${entries.map((entry) => JSON.stringify(entry)).join(',\n')}\n]\n`
}

async function record(checkout: string): Promise<void> {
  const bundle = (name: string) => join(checkout, 'dist', `${name}.cjs`)
  await writeFile(join(RECORDED, 'pods.json'), lines(await admissions(bundle('injector'))))
}

const [checkout] = process.argv.slice(2)
if (checkout === undefined)
  throw new Error('name a checkout of the release, in which `npm run build` has run')
await record(resolve(checkout))
