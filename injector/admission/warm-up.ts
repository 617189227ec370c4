import { type ReviewResult, readReview, reviewOutline } from './review.ts'

/** Enough for V8 to compile the loops over a body: otherwise the first large review costs twice as much as later ones. */
const CONTAINERS = 40_000

/** Reads one large review and drops it, which takes about 30 ms. */
export function warmUp(roleKey: string): ReviewResult {
  const container = {
    name: 'app',
    image: 'registry.example/app',
    env: [{ name: 'A', value: '\n' }],
    resources: {},
  }
  const containers = `${JSON.stringify(container)},`.repeat(CONTAINERS)
  const spec = `{"containers":[${containers}{}]}`
  const request = `{"uid":"warm-up","operation":"UPDATE","object":{"spec":${spec}}}`
  const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":${request}}`
  return readReview(Buffer.from(review), reviewOutline([roleKey]))
}
