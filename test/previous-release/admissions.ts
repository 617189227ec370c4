/** Calls the injector of a built release with the {@link CASES}, over TLS as the API server does. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { authority } from '../injector/certificates.ts'
import { fakeApi } from '../injector/fake-api.ts'
import { applyPatch, IMAGES } from '../injector/fixtures.ts'
import { httpsClient } from '../injector/https.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { CASES, type Case } from './cases.ts'

/** A case, and its pod as the API server continues with it: with the patch applied and without defaults. */
export type Admission = Case & { readonly admitted: unknown }

/** @param bundle `dist/injector.cjs` of the release */
export async function admissions(bundle: string): Promise<Admission[]> {
  const bySettings = Map.groupBy(CASES, ({ namespace, settings }) => JSON.stringify([settings, namespace]))
  const admitted = new Map<string, Admission>()
  for (const cases of bySettings.values())
    for (const one of await admittedBy(bundle, cases)) admitted.set(one.name, one)
  return CASES.flatMap(({ name }) => admitted.get(name) ?? [])
}

async function admittedBy(bundle: string, cases: readonly Case[]): Promise<Admission[]> {
  const [first] = cases
  if (first === undefined) return []
  const { name, labels, annotations } = first.namespace
  const [api, ca] = await Promise.all([fakeApi({ [name]: { labels, annotations } }), authority()])
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-previous-'))
  const leaf = await ca.leaf()
  await writeFile(join(directory, 'tls.crt'), leaf.cert)
  await writeFile(join(directory, 'tls.key'), leaf.key)
  const [port, healthPort] = [await freePort(), await freePort()]
  const images = IMAGES.filter(
    (image) => !first.settings.some((flag) => flag.split('=')[0] === image.split('=')[0]),
  )
  const child = spawn(
    process.execPath,
    [
      ...[bundle, ...images, ...first.settings, `--kubeconfig=${api.kubeconfig}`],
      ...[`--tls-cert-file=${join(directory, 'tls.crt')}`, `--tls-key-file=${join(directory, 'tls.key')}`],
      ...[`--port=${port}`, `--health-port=${healthPort}`],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'], env: {} },
  )
  const client = httpsClient(ca.pem)
  try {
    const isReady = () =>
      fetch(`http://127.0.0.1:${healthPort}/readyz`).then(
        ({ status }) => status === 200,
        () => false,
      )
    await until(() => {
      if (child.exitCode !== null) throw new Error(`${bundle} ended with ${child.exitCode}`)
      return isReady()
    })
    const result: Admission[] = []
    for (const one of cases) {
      const answer = await client.send(port, 'POST', '/mutate', JSON.stringify(creationOf(one)))
      const { response } = JSON.parse(answer.body)
      if (response?.patchType !== 'JSONPatch') throw new Error(`${one.name}: ${answer.body}`)
      const ops = JSON.parse(Buffer.from(response.patch, 'base64').toString('utf8'))
      result.push({ ...one, settings: [...images, ...one.settings], admitted: applyPatch(one.pod, ops) })
    }
    return result
  } finally {
    client.close()
    child.kill('SIGKILL')
    await api.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** The review of a pod's creation. */
function creationOf({ namespace, pod }: Pick<Case, 'namespace' | 'pod'>) {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: 'b9f1',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      namespace: namespace.name,
      operation: 'CREATE',
      object: pod,
    },
  }
}
