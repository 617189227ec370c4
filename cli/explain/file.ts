/** A manifest: what admission would decide about its pods and add to them, before anything is applied. */
import { readFileSync } from 'node:fs'
import { text as readAll } from 'node:stream/consumers'
import { parseAllDocuments } from 'yaml'
import { messageOf } from '../../common/errors.ts'
import { accountNameOf, accountOf } from '../cluster/accounts.ts'
import { CliError } from '../failure.ts'
import {
  type Decision,
  type InjectionSettings,
  isObject,
  type JsonObject,
  misspeltKeys,
  type Namespace,
  namespaceValues,
  podOfTemplate,
  podValues,
  type ServiceAccount,
} from '../product/injector.ts'
import { admission } from './admission.ts'
import type { Additions, Explanation } from './explanation.ts'
import { namespaceOf } from './live.ts'
import { notChecked, runChecks, type Step } from './step.ts'

export type Manifest = {
  readonly name: string
  readonly objects: readonly JsonObject[]
}

/** The source of namespaces that are not in the file. */
type NamespaceSource = (name: string) => Promise<JsonObject | undefined>

/** @param file `-` is stdin */
export async function readManifest(file: string): Promise<Manifest> {
  let text: string
  try {
    text = file === '-' ? await readAll(process.stdin) : readFileSync(file, 'utf8')
  } catch (error) {
    throw new CliError(
      'file-unreadable',
      `${file} cannot be read (${messageOf(error)})`,
      'name a file, or - for stdin',
    )
  }
  const documents = parseAllDocuments(text)
  const objects: JsonObject[] = []
  for (const document of documents) {
    const [error] = document.errors
    if (error !== undefined)
      throw new CliError(
        'file-not-yaml',
        `${file} is not valid YAML: ${messageOf(error)}`,
        'correct the file',
      )
    objects.push(...flattened(document.toJS()))
  }
  return { name: file, objects }
}

/** A List contains other objects. */
function flattened(value: unknown): JsonObject[] {
  if (!isObject(value)) return []
  if (typeof value.kind === 'string' && value.kind.endsWith('List') && Array.isArray(value.items))
    return value.items.flatMap(flattened)
  return [value]
}

export type FileContext = {
  readonly settings: InjectionSettings
  readonly untouched: readonly string[]
  /** Used if the file names none. */
  readonly namespace: string
  readonly source: NamespaceSource
  /** The same for service accounts. */
  readonly accounts: (namespace: string, name: string) => Promise<ServiceAccount | undefined>
  readonly notes: readonly string[]
}

/** Explains every pod and every workload in the file. */
export async function explainFile(manifest: Manifest, context: FileContext): Promise<Explanation[]> {
  const namespaces = new Map(
    manifest.objects
      .filter(({ kind }) => kind === 'Namespace')
      .map((one) => [String(metadataOf(one).name), one] as const),
  )
  const accounts = accountsIn(manifest, context.namespace)
  const explained: Explanation[] = []
  for (const object of manifest.objects) {
    const pod = podOf(object)
    if (pod === undefined) continue
    const name = String(metadataOf(object).namespace ?? context.namespace)
    const own = namespaces.get(name) ?? (await context.source(name))
    const whose = accountNameOf(pod)
    const { serviceAccountKey: key } = context.settings
    const account = key && (accounts.get(`${name}/${whose}`) ?? (await context.accounts(name, whose)))
    const isUnknown = key !== undefined && account === undefined
    const notes = isUnknown ? [...context.notes, unknownAccount(name, whose)] : context.notes
    explained.push(
      await explainObject(
        object,
        pod,
        name,
        own,
        { ...context, notes, account: account || undefined },
        manifest.name,
      ),
    )
  }
  return explained
}

function accountsIn({ objects }: Manifest, fallback: string): ReadonlyMap<string, ServiceAccount> {
  const accounts = objects
    .filter(({ kind }) => kind === 'ServiceAccount')
    .map((one) => accountOf({ metadata: { namespace: fallback, ...metadataOf(one) } }))
  return new Map(accounts.map((one) => [`${one.namespace}/${one.name}`, one]))
}

const unknownAccount = (namespace: string, name: string) =>
  `service account ${namespace}/${name} is neither in the file nor could it be read from the cluster: whether it names a role, or narrows one, is not known`

/** Whether all namespaces of its pods are in the file. */
export function hasAllNamespaces({ objects }: Manifest, fallback: string): boolean {
  const known = new Set(objects.filter(({ kind }) => kind === 'Namespace').map((one) => metadataOf(one).name))
  return objects
    .filter((one) => podOf(one) !== undefined)
    .every((one) => known.has(metadataOf(one).namespace ?? fallback))
}

/** The object itself if it is a pod, or the pod that its template describes. */
export function podOf(object: JsonObject): JsonObject | undefined {
  return object.kind === 'Pod' ? object : podOfTemplate(object)
}

const metadataOf = (object: JsonObject): JsonObject => (isObject(object.metadata) ? object.metadata : {})

type Explaining = Pick<FileContext, 'settings' | 'untouched' | 'notes'> & {
  readonly account: ServiceAccount | undefined
}

/** Judges one object; `own` is undefined if nothing is known about its namespace. */
export async function explainObject(
  object: JsonObject,
  pod: JsonObject,
  namespace: string,
  own: JsonObject | undefined,
  { settings, account, untouched, notes }: Explaining,
  where?: string,
): Promise<Explanation> {
  const name = String(metadataOf(object).name ?? metadataOf(object).generateName ?? '')
  const heading = { kind: String(object.kind), namespace, name, where }
  if (own === undefined) {
    const step: Step = {
      ...{ id: 'namespace', title: 'namespace opted in' },
      ...notChecked(`namespace ${namespace} is not in the file, and could not be read from the cluster`),
    }
    return { ...heading, steps: [step], warnings: [], notes }
  }
  const inNamespace = namespaceOf(own)
  const subject = { namespace, pod: name, roleKey: settings.roleKey }
  const { checks, decision } = admission({
    ...{ pod, settings, account, untouched, subject },
    namespace: inNamespace,
  })
  return {
    ...heading,
    steps: await runChecks(checks),
    warnings: warningsOf(decision, pod, inNamespace, settings),
    adds: additions(decision, pod),
    notes,
  }
}

/** Includes those of the webhook that warns; the limits of a namespace are known only to the cluster. */
function warningsOf(
  decision: Decision,
  pod: JsonObject,
  namespace: Namespace,
  settings: InjectionSettings,
): string[] {
  const marks = namespaceOf(pod)
  const decided = decision.kind === 'deny' ? [] : decision.warnings
  const misspelt = [
    ...misspeltKeys(marks, 'pod', settings.roleKey),
    ...namespaceValues(namespace, settings),
    ...misspeltKeys(namespace, 'namespace', settings.roleKey),
  ]
  const isRefusedFor = decision.kind === 'deny' && decision.reason === 'invalid-annotation'
  return [...new Set([...decided, ...(isRefusedFor ? [] : podValues(marks.annotations)), ...misspelt])]
}

/** The names of what a patch adds. */
function additions(decision: Decision, pod: JsonObject): Additions | undefined {
  if (decision.kind !== 'patch') return undefined
  const values = decision.ops.flatMap((op) => {
    if (!('value' in op)) return []
    const many = Array.isArray(op.value) ? op.value : [op.value]
    return many.filter(isObject).map((value) => ({ path: op.path, value }))
  })
  const named = (pattern: RegExp) =>
    values.filter(({ path }) => pattern.test(path)).map(({ value }) => String(value.name))
  const spec = isObject(pod.spec) ? pod.spec : {}
  const containerAt = (path: string) => {
    const [, list = '', index = ''] = /^\/spec\/(\w+)\/(\d+)\/env/.exec(path) ?? []
    const all = spec[list]
    const one = Array.isArray(all) ? all[Number(index)] : undefined
    return isObject(one) ? String(one.name) : ''
  }
  return {
    containers: [...named(/^\/spec\/initContainers(?:\/(?:\d+|-))?$/)],
    volumes: named(/^\/spec\/volumes(?:\/(?:\d+|-))?$/),
    env: values
      .filter(({ path }) => /\/env(?:\/(?:\d+|-))?$/.test(path))
      .map(
        ({ path, value }) =>
          `${value.name}=${value.value}${containerAt(path) ? ` in ${containerAt(path)}` : ''}`,
      ),
    patch: decision.ops,
  }
}
