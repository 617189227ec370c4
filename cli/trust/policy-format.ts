/** The formats in which policies are printed. */
export const POLICY_FORMATS = ['json', 'terraform', 'cloudformation'] as const
export type PolicyFormat = (typeof POLICY_FORMATS)[number]
