/**
 * Just enough OpenAPI v3 for `kubectl apply`, which looks up whether PATCH of a kind supports `fieldValidation` and then
 * leaves validation to the server.
 */
import { apiVersionOf, pathOf, RESOURCES } from '../objects/resources.ts'
import { GIT_VERSION } from './version.ts'

const ROOTS = [
  ...new Set(RESOURCES.map((r) => (r.group === '' ? `api/${r.version}` : `apis/${apiVersionOf(r)}`))),
]

const PARAMETERS = ['dryRun', 'fieldManager', 'fieldValidation'].map((name) => ({
  name,
  in: 'query',
  schema: { type: 'string', uniqueItems: true },
}))

function paths(root: string) {
  const own = RESOURCES.filter((r) => pathOf(r).slice(1).startsWith(`${root}/`) && !r.virtual)
  return Object.fromEntries(
    own.map((r) => {
      const gvk = { group: r.group, version: r.version, kind: r.kind }
      const path = r.namespaced
        ? pathOf(r, 'NS', 'N').replace('/NS/', '/{namespace}/')
        : pathOf(r, undefined, 'N')
      return [
        path.replace(/N$/, '{name}'),
        {
          patch: {
            'x-kubernetes-action': 'patch',
            'x-kubernetes-group-version-kind': gvk,
            parameters: PARAMETERS,
            responses: { 200: { description: 'OK' } },
          },
        },
      ]
    }),
  )
}

/** The document at `/openapi/v3` or below, or undefined. */
export function openApi(path: string): unknown {
  if (path === '/openapi/v3')
    return {
      paths: Object.fromEntries(
        ROOTS.map((root) => [root, { serverRelativeURL: `/openapi/v3/${root}?hash=1` }]),
      ),
    }
  const root = ROOTS.find((one) => path === `/openapi/v3/${one}`)
  if (root === undefined) return undefined
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: GIT_VERSION },
    paths: paths(root),
    components: {},
  }
}
