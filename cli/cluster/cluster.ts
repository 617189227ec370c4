/** The cluster of the kubeconfig, read with the caller's own rights. */
import {
  AdmissionregistrationV1Api,
  ApiException,
  AppsV1Api,
  BatchV1Api,
  CoreV1Api,
  type KubeConfig,
  Observable,
  type ObservableMiddleware,
  VersionApi,
} from '@kubernetes/client-node'
import { messageOf } from '../../common/errors.ts'
import { CliError } from '../failure.ts'
import { type Answer, type ApiRequest, requestText } from './api-request.ts'

/** For one request. A list sends one request for each page. */
const REQUEST_MS = 15_000
const PAGE = 500

type Call = { middleware: ObservableMiddleware[]; middlewareMergeStrategy: 'append' }
type ListOf<T> = { readonly items: T[]; readonly metadata?: { readonly _continue?: string } }

export type Cluster = {
  readonly config: KubeConfig
  /** That of the kubeconfig's context, or of `--namespace`. */
  readonly namespace: string
  readonly core: CoreV1Api
  readonly apps: AppsV1Api
  readonly batch: BatchV1Api
  readonly admission: AdmissionregistrationV1Api
  readonly version: VersionApi
  /**
   * One request. "Not found" and "forbidden" are answers, not errors; a refusal is remembered for the end of the output.
   *
   * @throws {CliError} if the API server does not answer, or does not accept this user
   */
  readonly ask: <T>(asked: ApiRequest, call: (options: Call) => Promise<T>) => Promise<Answer<T>>
  /** All pages of a list; see {@link ask}. */
  readonly askAll: <T>(
    asked: ApiRequest,
    page: (query: { limit: number; _continue?: string }, options: Call) => Promise<ListOf<T>>,
  ) => Promise<Answer<readonly T[]>>
  /** Records a refusal of a request that was not sent by `ask`. */
  readonly refuse: (asked: ApiRequest) => void
  /** What the caller may not do, without duplicates. */
  readonly refusals: () => readonly ApiRequest[]
}

export function connect(config: KubeConfig, namespace: string): Cluster {
  const refused = new Map<string, ApiRequest>()
  const refuse = (asked: ApiRequest) => {
    if (!asked.quiet) refused.set(requestText(asked), asked)
  }
  const ask = async <T>(asked: ApiRequest, call: (options: Call) => Promise<T>): Promise<Answer<T>> => {
    try {
      return { kind: 'found', value: await call(within(REQUEST_MS)) }
    } catch (error) {
      const status = error instanceof ApiException ? error.code : undefined
      if (status === 404) return { kind: 'absent' }
      if (status !== 403) throw unreachable(config, error)
      refuse(asked)
      return { kind: 'forbidden', asked }
    }
  }
  return {
    config,
    namespace,
    core: config.makeApiClient(CoreV1Api),
    apps: config.makeApiClient(AppsV1Api),
    batch: config.makeApiClient(BatchV1Api),
    admission: config.makeApiClient(AdmissionregistrationV1Api),
    version: config.makeApiClient(VersionApi),
    ask,
    async askAll(asked, page) {
      return ask(asked, async () => {
        const all = []
        let from: string | undefined
        do {
          const query = { limit: PAGE, ...(from ? { _continue: from } : {}) }
          const { items, metadata } = await page(query, within(REQUEST_MS))
          all.push(...items)
          from = metadata?._continue
        } while (from)
        return all
      })
    },
    refuse,
    refusals: () => [...refused.values()],
  }
}

function within(milliseconds: number): Call {
  const bounded: ObservableMiddleware = {
    pre: (request) => {
      request.setSignal(AbortSignal.timeout(milliseconds))
      return new Observable(Promise.resolve(request))
    },
    post: (response) => new Observable(Promise.resolve(response)),
  }
  return { middleware: [bounded], middlewareMergeStrategy: 'append' }
}

function unreachable(config: KubeConfig, error: unknown): CliError {
  const server = config.getCurrentCluster()?.server ?? 'of the kubeconfig'
  if (error instanceof ApiException) {
    if (error.code === 401)
      return new CliError(
        'not-authenticated',
        `the API server ${server} does not know this user`,
        'log in again, or choose another context with --context',
        { cause: error },
      )
    return new CliError(
      'api-server-failed',
      `the API server ${server} answered ${error.code}: ${wordsOf(error.body)}`,
      'try again; if it persists, check the API server',
      { cause: error },
    )
  }
  return new CliError(
    'cluster-unreachable',
    `the API server ${server} does not answer (${reasonOf(error)})`,
    'check with kubectl get --raw /version, or choose another context with --context',
    { cause: error },
  )
}

/** The message of a Status. */
function wordsOf(body: unknown): string {
  try {
    const status = typeof body === 'string' ? JSON.parse(body) : body
    return messageOf(new Error(String(status?.message ?? body)))
  } catch {
    return messageOf(new Error(String(body)))
  }
}

/** fetch puts the reason into `cause`. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return messageOf(cause instanceof Error && cause.message !== '' ? cause : error)
}
