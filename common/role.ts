/**
 * Role references: what a person writes into an annotation, and the one ARN it means.
 *
 * Rules: kube2iam's (name, path/name, full ARN) with kiam's tolerance for one leading slash; unlike both, what is
 * not a legal role ARN is refused here and never sent to STS.
 */

import { type Failed, failed } from './result.ts'

/** A role, resolved. */
export type Role = {
  /** The full ARN: what policy judges and what STS is asked for. */
  readonly arn: string
  /** `aws`, `aws-cn`, `aws-us-gov`, … */
  readonly partition: string
  /** Twelve digits. */
  readonly account: string
  /** Path and name without the leading slash, as in `path/name`. */
  readonly pathName: string
}

type RoleResult = { readonly ok: true; readonly role: Role } | Failed

// IAM: role name [\w+=,.@-]{1,64}; path (\u0021-\u007E)* up to 512. Characters that mean something to a glob, a URL
// or JSON have no place in a path anybody uses, so they are left out.
const ROLE_ARN =
  /^arn:(?<partition>aws(?:-[a-z]+)*):iam::(?<account>\d{12}):role\/(?<path>(?:[\w+=,.@:~!'()$&;-]+\/)*)(?<name>[\w+=,.@-]+)$/
const BASE_ARN = /^arn:aws(?:-[a-z]+)*:iam::\d{12}:role\/(?:[\w+=,.@:~!'()$&;-]+\/)*$/

/** Longest text we look at: IAM's path of 512, name of 64, and 64 for `arn:<partition>:iam::<account>:role`. */
const MAX_ROLE_TEXT = 640

/** Parses a full role ARN. Returns a sentence where it is not one. */
export function parseRoleArn(text: string): RoleResult {
  if (text.length > MAX_ROLE_TEXT) return failed(`the role is longer than ${MAX_ROLE_TEXT} characters`)
  const groups = ROLE_ARN.exec(text)?.groups
  const { partition, account, path, name } = groups ?? {}
  if (!partition || !account || path === undefined || !name)
    return failed(`${quote(text)} is not a role ARN of the form arn:aws:iam::<12 digits>:role/<path/name>`)
  if (name.length > 64) return failed(`the role name ${quote(name)} is longer than 64 characters`)
  if (path.length > 510) return failed(`the role path of ${quote(text)} is longer than 512 characters`)
  return { ok: true, role: { arn: text, partition, account, pathName: path + name } }
}

/**
 * Resolves what an annotation says.
 *
 * @param text role name, path/name (a leading slash is tolerated) or full ARN
 * @param base base role ARN ending in `/`, or undefined when it is unknown
 */
export function resolveRole(text: string, base: string | undefined): RoleResult {
  if (text === '')
    return failed('the role is empty; write a role name, path/name or ARN, or remove the annotation')
  if (/[\s\u0000-\u001f\u007f]/.test(text))
    return failed('the role contains white space or control characters')
  if (/^arn:/i.test(text)) return parseRoleArn(text)
  if (base === undefined)
    return failed(
      `${quote(text)} is not a full ARN and no base role ARN is known; write the full ARN or set --base-role-arn`,
    )
  return parseRoleArn(base + text.replace(/^\//, ''))
}

/**
 * Checks a base role ARN as an operator gives it (with or without trailing slash).
 * Returns it with the trailing slash, or a sentence.
 */
export function parseBaseRoleArn(text: string): { readonly ok: true; readonly base: string } | Failed {
  const base = text.endsWith('/') ? text : `${text}/`
  if (BASE_ARN.test(base)) return { ok: true, base }
  return failed(`${quote(text)} is not of the form arn:aws:iam::<12 digits>:role/<optional/path/>`)
}

/**
 * What the metadata service's role list says: the name when the role lies under the base ARN, else the ARN
 * (kube2iam server.go securityCredentialsHandler). No newline.
 */
export function roleListText(role: Role, base: string | undefined): string {
  return base !== undefined && role.arn.startsWith(base) ? role.arn.slice(base.length) : role.arn
}

/** Text from outside, fit for a sentence: bounded, control characters replaced, in double quotes. */
export function quote(text: string): string {
  const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text
  return JSON.stringify(shown.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '\ufffd'))
}
