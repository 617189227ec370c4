/** Every setting that changes what is injected, besides the role key. */

/** A key of the role annotation that is not the default. */
export const OTHER_KEY = 'aws.example.com/role'

/** Flags that differ from the chart's defaults. */
export const CHANGES: Readonly<Record<string, readonly string[]>> = {
  imdsTokens: ['--imds-tokens=required'],
  logLevel: ['--sidecar-log-level=debug'],
  acceptDrop: ['--gate-accept-drop=true'],
  startupGate: ['--startup-gate=off'],
  redirect: ['--redirect=env'],
  containerCredentials: ['--redirect=env', '--container-credentials=on'],
  start: ['--start=two-stage'],
  'redirect and start': ['--redirect=env', '--start=two-stage'],
  'the registry': [
    '--sidecar-image=registry.example.com:5000/pod2iam/sidecar:dev',
    '--node-guard-image=registry.example.com:5000/pod2iam/node-guard:dev',
  ],
  'a tag': ['--sidecar-image=pod2iam/sidecar:next', '--node-guard-image=pod2iam/node-guard:next'],
  pullPolicy: ['--image-pull-policy=Always'],
  resources: ['--sidecar-resources={"requests":{"cpu":"25m"}}'],
  tokenExpirationSeconds: ['--token-expiration-seconds=7200'],
  'audit and enforce': ['--gate-proof=report'],
  hostNetworkAnnotated: ['--host-network-annotated=warn'],
}
