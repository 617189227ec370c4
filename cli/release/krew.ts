/** The manifest that `kubectl krew install pod2iam` uses to find the program (krew.sigs.k8s.io/docs/developer-guide/plugin-manifest). */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { stringify } from 'yaml'

export type Archive = {
  readonly os: 'linux' | 'darwin'
  readonly arch: 'amd64' | 'arm64'
  /** A tar.gz that contains the program as `kubectl-pod2iam`, and LICENSE. */
  readonly file: string
}

/** @param url where the archives are published, without a trailing slash */
export async function krewManifest(
  version: string,
  url: string,
  archives: readonly Archive[],
): Promise<string> {
  const platforms = await Promise.all(
    archives.map(async ({ os, arch, file }) => ({
      selector: { matchLabels: { os, arch } },
      uri: `${url}/${basename(file)}`,
      sha256: createHash('sha256')
        .update(await readFile(file))
        .digest('hex'),
      files: [
        { from: 'kubectl-pod2iam', to: '.' },
        { from: 'LICENSE', to: '.' },
      ],
      bin: 'kubectl-pod2iam',
    })),
  )
  return stringify({
    apiVersion: 'krew.googlecontainertools.github.com/v1alpha2',
    kind: 'Plugin',
    metadata: { name: 'pod2iam' },
    spec: {
      version: `v${version}`,
      homepage: url.replace(/\/releases\/.*$/, ''),
      shortDescription: 'Explain why a pod gets no IAM role',
      description:
        'Shows what pod2iam does in a cluster: the steps by which a pod gets its IAM credentials and the first that fails, ' +
        'whether every node is blocked, which pod has which role, and what enforcing would break. It only reads, with your permissions.\n',
      platforms,
    },
  })
}
