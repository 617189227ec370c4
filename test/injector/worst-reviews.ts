/** Admission reviews that are made to be as expensive as possible, one for each thing that a review can have too much of. */
import { KEYS } from '../../common/keys.ts'
import { type Dict, pod, reviewOf } from './fixtures.ts'

export type WorstReview = {
  /** What the review has too much of. */
  readonly name: string
  readonly path: '/mutate' | '/validate' | '/warn'
  readonly body: string
  /** The answer of the injector: the review is allowed, denied for its size, or no review at all. */
  readonly answer: 'allowed' | 'too-large' | 'no-review'
}

const MIB = 1024 * 1024
/** The API server accepts three MiB from a client. */
const REQUEST = 3 * MIB
const env = { [KEYS.redirect]: 'env' }

/** As many items of `one` as have `bytes` bytes together. */
function filled(bytes: number, one: (index: number) => unknown): unknown[] {
  const step = JSON.stringify(one(99_999)).length + 1
  return Array.from({ length: Math.floor(bytes / step) }, (_, index) => one(index))
}

const app = (rest: Dict): Dict => ({ containers: [{ name: 'app', image: 'orders', ...rest }] })
const texts = (count: number, value = '') =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, value]))
const metadata = (more: Dict): Dict => {
  const one = pod({}, env) as { metadata: Dict }
  return { ...one, metadata: { ...one.metadata, ...more } }
}
const text = (review: Dict) => JSON.stringify(review)
const created = (object: unknown) => text(reviewOf(object))
const request = (more: Dict, object: unknown = pod({}, env)) => {
  const review = reviewOf(object) as { request: Dict }
  return text({ ...review, request: { ...review.request, ...more } })
}
/** The body with a raw text in place of the marker. */
const spliced = (body: string, raw: string) => body.replace('"@"', () => raw)

const POD_SHAPES: Readonly<Record<string, () => unknown>> = {
  'containers of a name and an empty env': () =>
    pod({ containers: filled(REQUEST, () => ({ name: 'c', env: [] })) }, env),
  'containers with names of their own': () =>
    pod({ containers: filled(REQUEST, (index) => ({ name: `c${index}`, env: [] })) }, env),
  'containers, a hundred more than are judged': () =>
    pod({ containers: Array.from({ length: 600 }, (_, index) => ({ name: `c${index}` })) }, env),
  'containers whose environment would win': () =>
    pod(
      {
        containers: filled(REQUEST, (index) => ({
          name: `c${index}`,
          env: [{ name: 'AWS_PROFILE', value: 'x' }],
        })),
      },
      env,
    ),
  'containers as the API server fills them in': () =>
    pod(
      {
        containers: filled(6.8 * MIB, (index) => ({
          name: `c${index}`,
          image: 'x',
          resources: {},
          terminationMessagePath: '/dev/termination-log',
          terminationMessagePolicy: 'File',
          imagePullPolicy: 'Always',
        })),
      },
      env,
    ),
  initContainers: () =>
    pod({ ...app({}), initContainers: filled(REQUEST, (index) => ({ name: `c${index}`, env: [] })) }, env),
  ephemeralContainers: () =>
    pod({ ...app({}), ephemeralContainers: filled(REQUEST, (index) => ({ name: `c${index}` })) }, env),
  volumes: () =>
    pod({ ...app({}), volumes: filled(REQUEST, (index) => ({ name: `v${index}`, emptyDir: {} })) }, env),
  'environment variables of one container': () =>
    pod(app({ env: filled(REQUEST, (index) => ({ name: `V${index}`, value: '' })) }), env),
  'mounts of one container': () =>
    pod(app({ volumeMounts: filled(REQUEST, (index) => ({ name: 'v', mountPath: `/${index}` })) }), env),
  'ports of one container': () =>
    pod(app({ ports: filled(REQUEST, (index) => ({ containerPort: index })) }), env),
  'args of one container': () => pod(app({ args: filled(REQUEST, () => '') }), env),
  tolerations: () => pod({ ...app({}), tolerations: filled(REQUEST, () => ({ key: 'a' })) }, env),
  annotations: () =>
    metadata({
      annotations: { ...texts(100_000), ...((pod({}, env).metadata as Dict).annotations as Dict) },
    }),
  labels: () => metadata({ labels: texts(100_000) }),
  'a node selector': () => pod({ ...app({}), nodeSelector: texts(100_000) }, env),
  'empty lists': () => pod({ ...app({}), tolerations: filled(REQUEST, () => []) }, env),
  'fields of one container': () => pod(app(texts(200_000)), env),
}

/** Reviews within the API server's own bounds, or with parts that cost nothing to skip. */
const ALLOWED: Readonly<Record<string, () => string>> = {
  'annotations as long as Kubernetes lets them be': () =>
    created(pod(app({}), { ...env, note: 'x'.repeat(255 * 1024) })),
  'managed fields': () =>
    created(metadata({ managedFields: filled(4 * MIB, (index) => ({ fieldsV1: { [`f:k${index}`]: {} } })) })),
  'as many containers as are judged': () =>
    created(
      pod(
        {
          containers: Array.from({ length: 500 }, (_, index) => ({
            name: `${'n'.repeat(55)}${index}`,
            env: [
              { name: 'AWS_PROFILE', value: 'x' },
              ...filled(4_000, () => ({ name: 'V', value: 'x'.repeat(40) })),
            ],
          })),
        },
        env,
      ),
    ),
  'groups of the user': () => request({ userInfo: { groups: filled(4 * MIB, (index) => `g${index}`) } }),
  "the user's extra": () => request({ userInfo: { extra: texts(200_000) } }),
  options: () => request({ options: { fieldManager: 'x'.repeat(4 * MIB) } }),
  'one long text': () => created(pod(app({ args: ['x'.repeat(REQUEST)] }), env)),
  'one text of escapes': () =>
    spliced(created(pod(app({ args: ['@'] }), env)), `"${'\\u00e9'.repeat(REQUEST / 6)}"`),
  'one text of many bytes a character': () => created(pod(app({ args: ['😀'.repeat(REQUEST / 4)] }), env)),
}

/** Reviews of living pods. */
const OTHERS: readonly Omit<WorstReview, 'path'>[] = [
  {
    name: 'an update of a pod with too many containers',
    body: request(
      {
        operation: 'UPDATE',
        oldObject: pod({ containers: filled(REQUEST, (index) => ({ name: `c${index}` })) }, env),
      },
      pod({ containers: filled(REQUEST, (index) => ({ name: `c${index}` })) }, env),
    ),
    answer: 'allowed',
  },
  {
    name: 'an old object of every bound',
    body: request({ operation: 'UPDATE', oldObject: pod({ tolerations: filled(7 * MIB, () => []) }, env) }),
    answer: 'allowed',
  },
]

/** Reviews of workloads, pods and namespaces that cause warnings. */
const WARNED: readonly Omit<WorstReview, 'path'>[] = [
  {
    name: 'a Deployment with too many containers',
    body: request(
      { resource: { group: 'apps', version: 'v1', resource: 'deployments' } },
      {
        metadata: { name: 'd' },
        spec: {
          template: pod({ containers: filled(REQUEST, (index) => ({ name: `c${index}`, env: [] })) }, env),
        },
      },
    ),
    answer: 'allowed',
  },
  ...(['pods', 'namespaces'] as const).map((resource) => ({
    name: `${resource} with as many misspelt keys as are read`,
    body: request(
      { resource: { group: '', version: 'v1', resource } },
      {
        ...pod(),
        metadata: {
          name: 'n',
          annotations: Object.fromEntries(
            Array.from({ length: 7_900 }, (_, index) => [`iam.amazonaws.com/session-x${index}`, '']),
          ),
        },
      },
    ),
    answer: 'allowed' as const,
  })),
]

/** Bodies that no API server sends, but that any pod of the cluster can send. */
const NO_REVIEWS: Readonly<Record<string, () => string>> = {
  'depth of lists': () =>
    spliced(created(pod(app({ x: '@' }), env)), '['.repeat(REQUEST / 2) + ']'.repeat(REQUEST / 2)),
  'depth of objects': () =>
    spliced(created(pod(app({ x: '@' }), env)), `${'{"a":'.repeat(REQUEST / 6)}0${'}'.repeat(REQUEST / 6)}`),
  'depth beside the request': () =>
    spliced(text({ ...reviewOf(pod()), x: '@' }), '['.repeat(4 * MIB) + ']'.repeat(4 * MIB - 4096)),
}

/** All of these, with a sidecar in mode `env`, which changes every container. */
export function worstReviews(): WorstReview[] {
  const made = (bodies: Readonly<Record<string, () => string>>, answer: WorstReview['answer']) =>
    Object.entries(bodies).map(([name, body]) => ({ name, path: '/mutate' as const, body: body(), answer }))
  const pods = Object.entries(POD_SHAPES).map(([name, shape]) => [name, () => created(shape())] as const)
  return [
    ...made(Object.fromEntries(pods), 'too-large'),
    ...made(ALLOWED, 'allowed'),
    ...OTHERS.map((review) => ({ ...review, path: '/validate' as const })),
    ...WARNED.map((review) => ({ ...review, path: '/warn' as const })),
    ...made(NO_REVIEWS, 'no-review'),
  ]
}
