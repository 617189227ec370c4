/** Responses of the STS Query API as XML, in the form that every AWS SDK parses. */

const NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/'

/** Element name → text or nested elements; undefined ones are left out. */
export type Elements = { readonly [name: string]: string | number | Elements | undefined }

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
  '\r': '&#xD;',
}

/** Escapes text, and replaces characters that XML 1.0 cannot contain. */
function escapeText(text: string): string {
  return text
    .replace(/[&<>"'\r]/g, (char) => ENTITIES[char] ?? char)
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
}

function render(elements: Elements, indent: string): string {
  let out = ''
  for (const [name, value] of Object.entries(elements)) {
    if (value === undefined) continue
    const body =
      typeof value === 'object' ? `\n${render(value, `${indent}  `)}${indent}` : escapeText(String(value))
    out += `${indent}<${name}>${body}</${name}>\n`
  }
  return out
}

/** `<ActionResponse><ActionResult>…`. */
export function successXml(action: string, result: Elements, requestId: string): string {
  const content = render({ [`${action}Result`]: result, ResponseMetadata: { RequestId: requestId } }, '  ')
  return `<${action}Response xmlns="${NAMESPACE}">\n${content}</${action}Response>\n`
}

/** `<ErrorResponse><Error>…`; the type says whether the sender or the receiver is at fault. */
export function errorXml(status: number, code: string, message: string, requestId: string): string {
  const error = { Type: status < 500 ? 'Sender' : 'Receiver', Code: code, Message: message }
  return `<ErrorResponse xmlns="${NAMESPACE}">\n${render({ Error: error, RequestId: requestId }, '  ')}</ErrorResponse>\n`
}
