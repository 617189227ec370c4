import { type ReviewResult, readReview } from '../admission/review.ts'
import { reviewOutline } from '../admission/review-outline.ts'

/** So much that V8 compiles the loops that walk over a body: else the first large review costs twice what later ones do. */
const CONTAINERS = 40_000

/** Reads one large review for nothing; takes some 30 ms. */
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
