/** Names that can become parts of a path of the API server. */

/** RFC 1123 label. */
export const isNamespaceName = (name: string): boolean => /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/.test(name)

/** RFC 1123 subdomain. */
export const isAccountName = (name: string): boolean => /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/.test(name)
