/** The result of an operation that failed, with a sentence that says why. */
export type Failed = { readonly ok: false; readonly detail: string }

export const failed = (detail: string): Failed => ({ ok: false, detail })
