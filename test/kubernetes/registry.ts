/**
 * A read-only registry of images: one directory for each image (buildah's `dir:`), which is found by the last part of the repository's name,
 * whatever precedes it, and whatever tag is requested.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { join } from 'node:path'

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const PATH = /^\/v2\/(?:[\w.-]+\/)*([\w.-]+)\/(manifests|blobs)\/([\w.:-]+)$/
const DIGEST = /^sha256:([0-9a-f]{64})$/

/** Starts it. @param directory with a directory per image */
export async function serveRegistry(directory: string, host: string, port: number): Promise<Server> {
  const server = createServer(({ url = '', method }, response) => {
    // containerd adds the name of the registry that it expects here.
    const [path = ''] = url.split('?')
    if (path === '/v2/') return response.end('{}')
    const [, image = '', kind, reference = ''] = PATH.exec(path) ?? []
    const [, hexadecimal] = DIGEST.exec(reference) ?? []
    const file = join(directory, image, kind === 'blobs' ? (hexadecimal ?? 'none') : 'manifest.json')
    if (kind === undefined || !existsSync(file)) return notFound(response)
    const type = kind === 'blobs' ? { 'content-type': 'application/octet-stream' } : manifestHeaders(file)
    response.writeHead(200, { ...type, 'content-length': statSync(file).size })
    if (method === 'HEAD') return response.end()
    return createReadStream(file).pipe(response)
  })
  server.listen(port, host)
  await once(server, 'listening')
  return server
}

function manifestHeaders(file: string) {
  const digest = createHash('sha256').update(readFileSync(file)).digest('hex')
  return { 'content-type': MANIFEST, 'docker-content-digest': `sha256:${digest}` }
}

function notFound(response: ServerResponse): ServerResponse {
  return response
    .writeHead(404, { 'content-type': 'application/json' })
    .end('{"errors":[{"code":"NAME_UNKNOWN"}]}')
}
