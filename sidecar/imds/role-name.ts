/** The spellings of its one role that an application may use in `security-credentials/<role>`. */
import { parseRoleArn } from '../../common/role.ts'

/**
 * Whether `asked` means the role: its list text, name, path/name or full ARN, and what the pod's annotation says.
 * Nothing else does; kube2iam answers 403 and kiam 500 for others, EC2 404.
 *
 * @param asked what follows `security-credentials/`, decoded, without a leading or trailing slash
 * @param texts known spellings of the role: list text, ARN, annotation
 */
export function matchesRole(asked: string, texts: readonly (string | undefined)[]): boolean {
  // Nearly every client uses the text of the list.
  return texts.includes(asked) || texts.some((text) => text !== undefined && spellings(text).includes(asked))
}

function spellings(text: string): readonly string[] {
  const parsed = parseRoleArn(text)
  const pathName = parsed.ok ? parsed.role.pathName : text.replace(/^\//, '')
  return [text, pathName, pathName.slice(pathName.lastIndexOf('/') + 1)]
}
