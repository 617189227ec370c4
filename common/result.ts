/** The result of what could not be done, with a sentence that says why. */
export type Failed = { readonly ok: false; readonly detail: string }

export const failed = (detail: string): Failed => ({ ok: false, detail })
