/** Programs of others that ask a metadata service for credentials, and what proves that they got them. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { needsBoto3, needsPeer, peer } from '../peers/peers.ts'
import { MOUNT_POINT, STAND_IN } from './modes.ts'

export type Program = {
  readonly argv: readonly string[]
  readonly needs: { readonly skip?: string }
  readonly version: () => string
  /** An access key that it prints or with which it signs a request to the stand-in, or the instance's id. */
  readonly proof: 'accessKeyId' | 'host.id'
  /** The version since which it does what the row says, where that is known from its change log or from AWS. */
  readonly from: string
  readonly env?: Readonly<Record<string, string>>
}

/** The programs by the name of the client. */
export const PROGRAMS: Readonly<Record<string, Program>> = {
  'AWS CLI v1': program('whoami-cli', {
    version: () => askVersion(peer('aws')),
    from: '1.16.289; container 1.30.0',
  }),
  'boto3, botocore': program('whoami-boto3', {
    needs: { ...needsBoto3(), ...needsPeer('whoami-boto3') },
    version: () => askVersion(peer('python3'), '-c', 'import boto3; print(boto3.__version__)'),
    from: '1.12.6, botocore 1.13.25; container botocore 1.32.7',
  }),
  'boto3 1.28, botocore 1.31': program('whoami-boto3-before', {
    version: () => read('../../.ci/peers', /boto3_before=(\S+)/),
    from: '1.12.6, botocore 1.13.25',
  }),
  'SDK for JavaScript v3': {
    ...script('../e2e/sdk/javascript/whoami.ts', '@aws-sdk/client-sts'),
    from: 'container 3.458.0',
  },
  'SDK for JavaScript v2': program('whoami-javascript-v2', { from: '2.722.0; container 2.1550.0' }),
  'SDK for Go v2': program('whoami-go', {
    version: () => read('../e2e/sdk/go/go.mod', /aws-sdk-go-v2 v(\S+)/),
    from: '0.19.0; container release of 2023-11-14',
  }),
  'SDK for Go v1': program('whoami-go-v1', {
    from: '1.25.38; `env` 1.34.14; IPv6 1.40.0; container 1.47.11',
  }),
  'the same before 1.47.11': program('whoami-go-v1-before', {
    from: '1.25.38; `env` 1.34.14; IPv6 1.40.0',
  }),
  'SDK for Java v2': program('whoami-java', {
    version: () => read('../e2e/sdk/java/pom.xml', /<aws.version>(.*)</),
    from: '2.10.21; container 2.21.30',
  }),
  'SDK for Rust, `aws-config`': program('whoami-rust', { from: 'container release of 2024-03-13' }),
  'SDK for Ruby, `aws-sdk-core`': program('whoami-ruby-trixie', {
    from: '3.79.0; IPv6 3.117.0; container 3.188.0; `env` 3.191.5',
  }),
  'the same before 3.191.5': program('whoami-ruby-bookworm', { from: '3.79.0; IPv6 3.117.0' }),
  'awscrt, `aws-c-auth`': program('whoami-awscrt-0.38', { version: () => 'awscrt 0.38.1' }),
  'awscrt before aws-c-auth 0.6.29': program('whoami-awscrt-0.16', { version: () => 'awscrt 0.16.19' }),
  'minio-go, `credentials.IAM`': program('whoami-minio'),
  'rclone, `env_auth`': program('rclone', {
    args: ['lsd', ':s3:', '--s3-provider=AWS', '--s3-env-auth', `--s3-endpoint=${STAND_IN}`, '--retries=1'],
  }),
  'object_store, by obstore': program('whoami-object-store', { args: [STAND_IN] }),
  'GDAL, `/vsis3/`': program('whoami-gdal', { args: [STAND_IN] }),
  s3torchconnector: program('whoami-s3torchconnector', { args: [STAND_IN] }),
  's3fs, `iam_role=auto`': program('s3fs', {
    needs: existsSync('/dev/fuse') ? needsPeer('s3fs') : { skip: 's3fs needs /dev/fuse' },
    args: ['bucket', MOUNT_POINT, '-f', '-o', `iam_role=auto,url=${STAND_IN},use_path_request_style`],
    from: '1.91',
  }),
  'Hadoop S3A, `IAMInstanceCredentialsProvider`': program('whoami-hadoop'),
  'OpenTelemetry’s detector for Go': program('detect-opentelemetry-go', { proof: 'host.id' }),
  'OpenTelemetry’s detector for JavaScript': {
    ...script('../sidecar/detectors/detect.ts', '@opentelemetry/resource-detector-aws'),
    proof: 'host.id',
  },
  'OpenTelemetry’s detector for Python': program('detect-opentelemetry', { proof: 'host.id' }),
}

function program(
  command: string,
  { args = [], ...options }: Partial<Program> & { args?: string[] } = {},
): Program {
  const path = peer(command) ?? command
  const version = () => askVersion(path)
  return {
    argv: [path, ...args],
    needs: needsPeer(command),
    version,
    proof: 'accessKeyId',
    from: '–',
    ...options,
  }
}

/** A script that uses a devDependency. */
function script(path: string, dependency: string): Program {
  return {
    argv: [process.execPath, fileURLToPath(new URL(path, import.meta.url))],
    needs: {},
    version: () => read(`../../node_modules/${dependency}/package.json`, /"version": "(.*)"/),
    proof: 'accessKeyId',
    from: '–',
  }
}

function askVersion(command = '', ...args: string[]): string {
  return execFileSync(command, args.length > 0 ? args : ['--version'], { encoding: 'utf8', timeout: 90_000 })
}

/** Reads a version from the file that pins the peer. */
function read(path: string, pattern: RegExp): string {
  return pattern.exec(readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8'))?.[1] ?? ''
}
