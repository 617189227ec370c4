/** Everything below `/latest/meta-data/iam`: a pure function of the path and of what the store says. */
import { parseRoleArn } from '../../common/role.ts'
import type { Credentials } from '../credentials/credentials.ts'
import type { View } from '../credentials/store.ts'
import { credentialDocument, infoDocument, refusalDocument } from './documents.ts'

type IamAnswer =
  /** `modified`: wall clock, milliseconds. */
  | { readonly status: 200; readonly body: string; readonly modified: number | undefined }
  | { readonly status: 404 | 503 }

/** What is known about the role while there are no valid credentials. */
export type KnownRole = {
  /** Text for the list: the last known one, else the annotation's. */
  readonly name: string
  /** All known spellings: list text, ARN, annotation. */
  readonly texts: readonly (string | undefined)[]
}

const LISTS = new Map([
  ['security-credentials', 'plain'],
  ['security-credentials-extended', 'extended'],
] as const)

/**
 * Answers a GET.
 *
 * @param below what follows `/latest/meta-data/iam/`, decoded, without a trailing slash; empty for the directory
 * @returns 404 when the pod has no role or the name is not its role's; 503 while there are no credentials to give,
 *   never 4xx for that: SDKs treat 401, 403 and 404 as permanent
 */
export function answerIam(below: string, view: View, role: KnownRole): IamAnswer {
  if (view.kind === 'none') return NOT_FOUND
  if (below === '') return found('info\nsecurity-credentials/')
  if (below === 'info') return answerInfo(view)
  const cut = below.indexOf('/')
  const form = LISTS.get((cut === -1 ? below : below.slice(0, cut)) as 'security-credentials')
  if (form === undefined) return NOT_FOUND
  if (view.kind === 'unavailable') return UNAVAILABLE
  // Exactly one name and no newline: a second line crashes JS v3, a newline breaks the URLs of Rust and PHP.
  if (cut === -1) return found(view.kind === 'valid' ? view.credentials.role : role.name)
  if (!matchesRole(below.slice(cut + 1), role.texts)) return NOT_FOUND
  return view.kind === 'valid'
    ? found(rememberedDocument(view.credentials, form), view.credentials.lastUpdated)
    : found(refusalDocument(role.name, view.detail, view.at), view.at)
}

/**
 * Whether `asked` means the role: its list text, name, path/name or full ARN, and what the pod's annotation says.
 * Nothing else does; kube2iam answers 403 and kiam 500 for others, EC2 404.
 *
 * @param asked what follows `security-credentials/`, decoded, without a leading or trailing slash
 * @param texts known spellings of the role: list text, ARN, annotation
 */
export function matchesRole(asked: string, texts: KnownRole['texts']): boolean {
  // Nearly every client uses the text of the list.
  return texts.includes(asked) || texts.some((text) => text !== undefined && spellings(text).includes(asked))
}

function spellings(text: string): readonly string[] {
  const parsed = parseRoleArn(text)
  const pathName = parsed.ok ? parsed.role.pathName : text.replace(/^\//, '')
  return [text, pathName, pathName.slice(pathName.lastIndexOf('/') + 1)]
}

/** Documents of the current credentials, which are requested again and again; they are dropped with the credentials. */
const documents = new WeakMap<Credentials, { plain?: string; extended?: string }>()

function rememberedDocument(credentials: Credentials, form: 'plain' | 'extended'): string {
  const known = documents.get(credentials) ?? {}
  const document = known[form] ?? credentialDocument(credentials, form)
  if (known[form] === undefined) documents.set(credentials, { ...known, [form]: document })
  return document
}

function answerInfo(view: View): IamAnswer {
  if (view.kind === 'valid') return found(infoDocument(view.credentials), view.credentials.lastUpdated)
  return view.kind === 'unavailable' ? UNAVAILABLE : NOT_FOUND
}

const NOT_FOUND = { status: 404 } as const
const UNAVAILABLE = { status: 503 } as const

function found(body: string, modified?: number): IamAnswer {
  return { status: 200, body, modified }
}
