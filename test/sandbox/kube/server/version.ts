/** The version of Kubernetes that the sandbox reports: the one that it is compared with (`test/peers/kubernetes/newest/go.mod`). */

const [MAJOR, MINOR, PATCH] = [1, 37, 2]

/** Without the patch version, as the kubelet's probes name it. */
export const RELEASE = `${MAJOR}.${MINOR}`

/** As `kubectl version` shows it. */
export const GIT_VERSION = `v${RELEASE}.${PATCH}`

/** The answer of `/version`. */
export const VERSION = {
  major: String(MAJOR),
  minor: String(MINOR),
  gitVersion: GIT_VERSION,
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: 'go1.26.8',
  compiler: 'gc',
  platform: 'linux/amd64',
} as const
