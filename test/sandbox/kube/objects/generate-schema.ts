/**
 * Writes `schema.txt`: the fields of every kind the sandbox serves, from the OpenAPI models in
 * @kubernetes/client-node (Kubernetes 1.36). Run by hand when that package is upgraded:
 * `node test/sandbox/kube/objects/generate-schema.ts`.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { apiVersionOf, RESOURCES } from './resources.ts'

type Attribute = { readonly name: string; readonly baseName: string; readonly type: string }
type Model = { readonly attributeTypeMap: readonly Attribute[] }

const MODELS = join(dirname(createRequire(import.meta.url).resolve('@kubernetes/client-node')), 'gen/models')
/** Kinds that exist in several groups have the group in the model's name. */
const ROOTS: Readonly<Record<string, string>> = {
  'v1/Event': 'CoreV1Event',
  'events.k8s.io/v1/Event': 'EventsV1Event',
}
/** Maps and scalars of this name contain quantities, which may be written as numbers. */
const QUANTITIES = new Set(
  'limits requests capacity allocatable hard used default defaultRequest max min maxLimitRequestRatio sizeLimit divisor overhead'.split(
    ' ',
  ),
)
const SCALARS: Readonly<Record<string, string>> = { Date: 'string', V1MicroTime: 'string', object: 'any' }

/** `Array<V1Container>` → `V1Container[]`, `{ [key: string]: string; }` → `string{}`. */
function compact(type: string, field: string): string {
  const list = /^Array<(.+)>$/.exec(type)
  if (list !== null) return `${compact(list[1] ?? '', field)}[]`
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type)
  if (map !== null) return `${compact(map[1] ?? '', field)}{}`
  if (type === 'string' && QUANTITIES.has(field)) return 'quantity'
  return SCALARS[type] ?? type
}

async function describe(model: string): Promise<{ line: string; references: string[] }> {
  const file = join(MODELS, model)
  const { [model]: found } = (await import(pathToFileURL(`${file}.js`).href)) as Record<string, Model>
  if (found === undefined) throw new Error(`${file}.js does not export ${model}.`)
  const declaration = await readFile(`${file}.d.ts`, 'utf8')
  const fields = found.attributeTypeMap.map(({ name, baseName, type }) => {
    const required = declaration.includes(`    '${name}': `) ? '!' : ''
    return { text: `${baseName}${required}=${compact(type, baseName)}`, type: compact(type, baseName) }
  })
  const references = fields
    .map(({ type }) => type.replace(/[[\]{}]/g, ''))
    .filter((type) => /^[A-Z]/.test(type) && type !== 'IntOrString')
  return { line: [model, ...fields.map(({ text }) => text)].join(' '), references }
}

const lines: string[] = []
const types = new Map<string, string>()
const queue: string[] = []
for (const resource of RESOURCES.filter(({ virtual }) => !virtual)) {
  const kind = `${apiVersionOf(resource)}/${resource.kind}`
  const model = ROOTS[kind] ?? `V1${resource.kind}`
  lines.push(`kind ${kind} ${model}`)
  queue.push(model)
}
for (let model = queue.shift(); model !== undefined; model = queue.shift()) {
  if (types.has(model)) continue
  const { line, references } = await describe(model)
  types.set(model, line)
  queue.push(...references)
}
lines.push(...[...types.values()].sort().map((line) => `type ${line}`))
await writeFile(join(import.meta.dirname, 'schema.txt'), `${lines.join('\n')}\n`)
