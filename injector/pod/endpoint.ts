/** The variables that configure where AWS's SDKs request credentials, and the values that the injector writes into them. */
import { CONTAINER_CREDENTIALS_PATH, CONTAINER_TOKEN_FILE, SIDECAR_PORT } from '../../common/addresses.ts'
import type { EnvVar } from './pod.ts'

/** The variable that gives the AWS CLI and all SDKs another address of the metadata service. */
export const ENDPOINT_ENV = 'AWS_EC2_METADATA_SERVICE_ENDPOINT'

/** Where apps with {@link ENDPOINT_ENV} reach the sidecar. */
export const SIDECAR_ENDPOINT = `http://127.0.0.1:${SIDECAR_PORT}/`

/** The variables of pods with container credentials. SDKs allow plain HTTP to loopback. */
export const CONTAINER_ENV = [
  {
    name: 'AWS_CONTAINER_CREDENTIALS_FULL_URI',
    value: `http://127.0.0.1:${SIDECAR_PORT}${CONTAINER_CREDENTIALS_PATH}`,
  },
  { name: 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE', value: CONTAINER_TOKEN_FILE },
] as const

const CONTAINER_VALUES: ReadonlyMap<string, string> = new Map(
  CONTAINER_ENV.map(({ name, value }) => [name, value]),
)

/** Whether a variable is one of {@link CONTAINER_ENV} as we write it. */
export const isContainerVariable = ({ name, value }: EnvVar): boolean =>
  value !== undefined && CONTAINER_VALUES.get(name) === value
