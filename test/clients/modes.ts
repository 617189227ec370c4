/** The ways in which a client can reach the metadata service of its pod. */
import { hostPort, SIDECAR_PORT } from '../../common/addresses.ts'
import { CONTAINER_ENV } from '../../injector/pod/endpoint.ts'

export type Mode = {
  /** Which of the two sidecars answers: the one that allows IMDSv1 or the one that requires a token. */
  readonly tokens: 'optional' | 'required'
  /** The metadata addresses that lead to the sidecar; requests to the others are refused. */
  readonly redirected: readonly ('v4' | 'v6')[]
  /** Whether requests for a session token are dropped, as an instance's hop limit does with the answers. */
  readonly tokensCut?: boolean
  readonly env?: Readonly<Record<string, string>>
}

const BOTH = ['v4', 'v6'] as const
/** Placeholders in arguments and variables: the stand-in's URL, an empty directory, and the secret of the container credentials. */
export const [STAND_IN, MOUNT_POINT, SECRET] = ['{stand-in}', '{mount-point}', '{secret}']
const OPTIONAL: Mode = { tokens: 'optional', redirected: BOTH }
const ENDPOINT = { AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://${hostPort('127.0.0.1', SIDECAR_PORT)}` }
const [FULL_URI, TOKEN_FILE] = CONTAINER_ENV
const CONTAINER = { ...ENDPOINT, [FULL_URI.name]: FULL_URI.value, [TOKEN_FILE.name]: SECRET }
const PROXY = { HTTP_PROXY: STAND_IN, http_proxy: STAND_IN }
const except = (noProxy: string) => ({ ...PROXY, NO_PROXY: noProxy, no_proxy: noProxy })

export const MODES = {
  /** No SDK can be configured to use IMDSv1, but they fall back to it when their PUT fails. */
  v1: { ...OPTIONAL, tokensCut: true },
  optional: OPTIONAL,
  required: { tokens: 'required', redirected: BOTH },
  ipv6: {
    tokens: 'optional',
    redirected: ['v6'],
    env: { AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: 'IPv6' },
  },
  env: { tokens: 'optional', redirected: [], env: ENDPOINT },
  /** As `env`, with container credentials. */
  container: { tokens: 'optional', redirected: [], env: CONTAINER },
  proxy: { ...OPTIONAL, env: PROXY },
  excepted: { ...OPTIONAL, env: except('169.254.169.254') },
  exceptedNetwork: { ...OPTIONAL, env: except('169.254.0.0/16') },
  envProxy: { tokens: 'optional', redirected: [], env: { ...ENDPOINT, ...PROXY } },
} as const satisfies Readonly<Record<string, Mode>>

export type ModeName = keyof typeof MODES
