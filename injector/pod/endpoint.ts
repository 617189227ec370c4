import { SIDECAR_PORT } from '../../common/addresses.ts'

/** Name of the variable by which SDKs find a metadata service elsewhere; the CLI and every SDK honour it. */
export const ENDPOINT_ENV = 'AWS_EC2_METADATA_SERVICE_ENDPOINT'

/** Where the sidecar listens, for apps that are led to it by {@link ENDPOINT_ENV}. */
export const SIDECAR_ENDPOINT = `http://127.0.0.1:${SIDECAR_PORT}/`
