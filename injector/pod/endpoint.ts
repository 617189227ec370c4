import { SIDECAR_PORT } from '../../common/addresses.ts'

/** The variable that gives the AWS CLI and all SDKs another address of the metadata service. */
export const ENDPOINT_ENV = 'AWS_EC2_METADATA_SERVICE_ENDPOINT'

/** Where apps with {@link ENDPOINT_ENV} reach the sidecar. */
export const SIDECAR_ENDPOINT = `http://127.0.0.1:${SIDECAR_PORT}/`
