/** The formats in which policies are printed. */
export const FORMS = ['json', 'terraform', 'cloudformation'] as const
export type Form = (typeof FORMS)[number]
