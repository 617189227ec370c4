/** Validation of names, labels and annotations, with the API server's sentences. */

import { objectAt } from './objects.ts'
import { type FieldError, fieldError } from './status.ts'

export const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
export const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/
const TOTAL_ANNOTATIONS = 256 * 1024

export const SUBDOMAIN_TEXT =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
export const LABEL_TEXT =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
const QUALIFIED_TEXT =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
const VALUE_TEXT =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

function keyErrors(field: string, key: string): FieldError[] {
  const parts = key.split('/')
  const [prefix, name = key] = parts.length === 2 ? parts : [undefined, parts.length === 1 ? key : undefined]
  if (parts.length > 2)
    return [fieldError.invalid(field, key, 'a qualified name must consist of alphanumeric characters')]
  const errors: FieldError[] = []
  if (prefix !== undefined && !SUBDOMAIN.test(prefix.toLowerCase()))
    errors.push(fieldError.invalid(field, key, `prefix part ${SUBDOMAIN_TEXT}`))
  if (name.length === 0) errors.push(fieldError.invalid(field, key, 'name part must be non-empty'))
  else if (name.length > 63)
    errors.push(fieldError.invalid(field, key, 'name part must be no more than 63 bytes'))
  if (name !== '' && !QUALIFIED.test(name)) errors.push(fieldError.invalid(field, key, QUALIFIED_TEXT))
  return errors
}

/** Labels and annotations of an object or of a pod template. */
export function metadataErrors(metadata: unknown, at: string): FieldError[] {
  const errors: FieldError[] = []
  for (const [key, value] of Object.entries(objectAt(metadata, 'labels'))) {
    errors.push(...keyErrors(`${at}.labels`, key))
    const text = String(value)
    if (text.length > 63)
      errors.push(fieldError.invalid(`${at}.labels`, text, 'must be no more than 63 bytes'))
    else if (!LABEL_VALUE.test(text)) errors.push(fieldError.invalid(`${at}.labels`, text, VALUE_TEXT))
  }
  const annotations = Object.entries(objectAt(metadata, 'annotations'))
  // Annotation keys are compared in lower case (ValidateAnnotations).
  for (const [key] of annotations) errors.push(...keyErrors(`${at}.annotations`, key))
  const size = annotations.reduce(
    (sum, [k, v]) => sum + Buffer.byteLength(k) + Buffer.byteLength(String(v)),
    0,
  )
  if (size > TOTAL_ANNOTATIONS)
    errors.push({
      field: `${at}.annotations`,
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${TOTAL_ANNOTATIONS} bytes`,
    })
  return errors
}
