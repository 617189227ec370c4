/** In how many ways an application may spell its one role in `security-credentials/<role>`. */
import { parseRoleArn } from '../../common/role.ts'

/**
 * Whether `asked` means the role: its list text, name, path/name or full ARN, and what the pod's annotation says.
 * Nothing else does; kube2iam answers 403 and kiam 500 for others, EC2 404.
 *
 * @param asked what follows `security-credentials/`, decoded, without a leading or trailing slash
 * @param texts spellings known to mean the role: list text, ARN, annotation
 */
export function meansRole(asked: string, texts: readonly (string | undefined)[]): boolean {
  // What the list says is what nearly everybody asks for.
  return texts.includes(asked) || texts.some((text) => text !== undefined && spellings(text).includes(asked))
}

function spellings(text: string): readonly string[] {
  const parsed = parseRoleArn(text)
  const pathName = parsed.ok ? parsed.role.pathName : text.replace(/^\//, '')
  return [text, pathName, pathName.slice(pathName.lastIndexOf('/') + 1)]
}
