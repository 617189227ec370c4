/** `/api`, `/apis` and the paths below: kubectl requests them before anything else. */
import { apiVersionOf, RESOURCES, type Resource } from '../objects/resources.ts'
import { VERSION } from './version.ts'

const VERBS = ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch']

const GROUPS = [...new Set(RESOURCES.map(({ group }) => group))].filter((group) => group !== '')

function describe(resource: Resource) {
  return {
    name: resource.plural,
    singularName: resource.singular,
    namespaced: resource.namespaced,
    kind: resource.kind,
    verbs: resource.virtual ? ['create'] : VERBS,
    ...(resource.shortNames.length > 0 ? { shortNames: resource.shortNames } : {}),
    ...([
      'pods',
      'services',
      'deployments',
      'daemonsets',
      'statefulsets',
      'replicasets',
      'jobs',
      'cronjobs',
    ].includes(resource.plural)
      ? { categories: ['all'] }
      : {}),
  }
}

function describeSubresource(resource: Resource, name: string, kind: string) {
  const group = { TokenRequest: ['authentication.k8s.io', 'v1'] }[kind]
  return {
    name: `${resource.plural}/${name}`,
    singularName: '',
    namespaced: resource.namespaced,
    ...(group === undefined ? {} : { group: group[0], version: group[1] }),
    kind,
    verbs: kind === resource.kind ? ['get', 'patch', 'update'] : ['create'],
  }
}

function resourceList(group: string, version: string) {
  const own = RESOURCES.filter((r) => r.group === group && r.version === version)
  if (own.length === 0) return undefined
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: apiVersionOf({ group, version }),
    resources: own.flatMap((r) => [
      describe(r),
      ...Object.entries(r.subresources).map(([name, kind]) => describeSubresource(r, name, kind)),
    ]),
  }
}

function groupEntry(name: string) {
  const version = { groupVersion: `${name}/v1`, version: 'v1' }
  return { name, versions: [version], preferredVersion: version }
}

/** The discovery document at a path, or undefined. */
export function discovery(path: string): unknown {
  const [root, group, version, ...rest] = path.split('/').filter(Boolean)
  if (root === 'version' && group === undefined) return VERSION
  if (root === 'api' && group === undefined)
    return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }
  if (root === 'api' && group === 'v1' && version === undefined) return resourceList('', 'v1')
  if (root !== 'apis' || rest.length > 0) return undefined
  if (group === undefined) return { kind: 'APIGroupList', apiVersion: 'v1', groups: GROUPS.map(groupEntry) }
  if (!GROUPS.includes(group)) return undefined
  return version === undefined
    ? { kind: 'APIGroup', apiVersion: 'v1', ...groupEntry(group) }
    : resourceList(group, version)
}
