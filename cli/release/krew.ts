/** The manifest by which `kubectl krew install pod2iam` finds the program (krew.sigs.k8s.io/docs/developer-guide/plugin-manifest). */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { stringify } from 'yaml'

export type Archive = {
  readonly os: 'linux' | 'darwin'
  readonly arch: 'amd64' | 'arm64'
  /** A tar.gz with the program, as `kubectl-pod2iam`, and LICENSE. */
  readonly file: string
}

/** @param url under which the archives are published, without a slash at its end */
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
      shortDescription: 'Why a pod gets no IAM role, and who would',
      description:
        'Shows what pod2iam does in a cluster: each step of a pod to its IAM credentials and the first that fails, ' +
        'whether every node is shut, who has which role, and what enforcing would break. It reads with your own rights.\n',
      platforms,
    },
  })
}
