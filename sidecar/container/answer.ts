/**
 * Container credentials: what SDKs ask for at `AWS_CONTAINER_CREDENTIALS_FULL_URI`, in one request. Unlike the metadata address, we
 * choose this one ourselves, and all clients ask as AWS's documentation says
 * (sdkref/latest/guide/feature-container-credentials), so everything else is refused.
 */
import { imdsTime } from '../../common/protocol.ts'
import type { Credentials } from '../credentials/credentials.ts'
import type { View } from '../credentials/store.ts'
import type { Refusal } from '../health/refusals.ts'
import { jsonReply, type Reply } from '../imds/respond.ts'

type Asked = {
  /** The authority to which the request was sent. */
  readonly authority: string
  readonly headers: { get(name: string): string | null; keys(): Iterable<string> }
}

/** Not a name, which a web page could resolve to this address, and not the metadata address. */
const HOST = /^127\.0\.0\.1(?::\d{1,5})?$/
/** Headers that browsers add to requests of pages, and proxies to requests that they forward; the names are in lower case. */
const OF_BROWSERS = /^(?:origin|referer|sec-.+|forwarded|x-forwarded-.+|via)$/

/** Answers a GET: credentials, or why there are none, with the members `code` and `message` that SDKs show. */
export function answerContainer(
  { authority, headers }: Asked,
  view: View,
  isSecret: (secret: string) => boolean,
): Reply {
  // The two differ only with an absolute target: its authority, which HTTP prefers to Host, is not the name that a web page has.
  const host = headers.get('host') ?? authority
  if (!HOST.test(authority) || !HOST.test(host))
    return refuse(403, 'container-host', 'The Host must be 127.0.0.1')
  for (const name of headers.keys())
    if (OF_BROWSERS.test(name))
      return refuse(403, 'container-browser', `Requests with the header ${name} are refused`)
  const secret = headers.get('authorization')
  if (secret === null)
    return refuse(401, 'container-token-missing', `The Authorization header is missing, ${FILE}`)
  if (!isSecret(secret))
    return refuse(401, 'container-token-invalid', `The Authorization header is not, or no longer, ${FILE}`)
  switch (view.kind) {
    case 'valid':
      return jsonReply(200, documentOf(view.credentials))
    case 'none':
      return failure(404, 'role-not-set', 'This pod has no IAM role.')
    case 'refused':
      return failure(403, view.code, view.detail)
    case 'unavailable':
      return failure(503, view.code, view.detail)
  }
}

const FILE = 'the content of the container authorization token file'

function documentOf({ accessKeyId, secretAccessKey, token, expiration, accountId, roleArn }: Credentials) {
  return {
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: token,
    Expiration: imdsTime(expiration),
    AccountId: accountId,
    RoleArn: roleArn,
  }
}

const failure = (status: 401 | 403 | 404 | 503, code: string, message: string): Reply =>
  jsonReply(status, { code, message })

const refuse = (status: 401 | 403, refusal: Refusal, sentence: string): Reply => ({
  ...failure(status, refusal, `${sentence}.`),
  refusal,
})
